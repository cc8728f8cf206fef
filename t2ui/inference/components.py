"""Single components of what a mixture changes: named by tokens, and tested on an answer.

A name says what a component is joined to, a test says what it does: how strongly each word sets it
off, and how likely the answer is without its change. Tokens are named where a matrix reads the
residual stream, or writes to it, and nowhere else. Long work is done in pieces: generators that
yield None between two of them, with the model as it was.
"""

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.checks import check_prompt, check_range
from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.inference.differences import token_texts
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import Plan, refuse_transfers
from t2ui.inference.rows import text_of
from t2ui.inference.sweep import log_likelihoods, sweep, switched
from t2ui.lineup import Lineup
from t2ui.models.chat import chat_around, text_ids
from t2ui.models.directions import (
    aligned,
    chance,
    norms_around,
    promoted,
    random_directions,
)
from t2ui.records import (
    LEAST_Z,
    MOST_Z,
    ComponentChoice,
    ComponentsMeasured,
    Ends,
    NamedComponent,
)
from t2ui.svf.adapter import Adapter, Scales, adapted
from t2ui.svf.components import (
    MOST,
    NEARLY_EQUAL,
    STREAM,
    check_component,
    gap,
    joined,
    matrices,
    most_changed,
    with_component,
)
from t2ui.svf.decomposition import Factors, kind_of, layer_of
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import mix, mixture_of

T = TypeVar("T")
Pieces = Generator[None, None, T]

TOKENS = 6  # named at each end of a direction
ANSWER_TOKENS = 32  # of the mixture's own answer, where none is given
UNKNOWN_NORMS = ", behind norms that are not known here"


def measure_components(
    dispatchers: Dispatchers,
    experts: Mapping[str, Expert],
    settings: AnswerSettings,
    choice: ComponentChoice,
    prompt: str = "",
    text: str = "",
) -> Pieces[ComponentsMeasured]:
    """The components that a mixture changes most, or those that are chosen.

    Args:
        settings: with the mixture; its `dispatch` is not used.
        prompt: what the components are tested on; "": they are only named.
        text: the answer to it; "": what the mixture itself answers, greedily.

    Raises:
        InputError: no such component, matrix, layer or order, a mixture that changes nothing, or
            what `make_plan` raises.
    """
    adapter, tokenizer = dispatchers.adapter, dispatchers.tokenizer
    check_range("z of the component", choice.at, LEAST_Z, MOST_Z)
    mixture = mixture_of(settings.mixture or {}, settings.normalise, settings.scope)
    scales = mix(experts, mixture)
    refuse_transfers(adapter, experts, mixture, settings.allow_transfer)
    wanted = _wanted(adapter.factors, scales, choice)
    named = yield from _named(adapter, tokenizer, scales, wanted)
    if not prompt:
        return ComponentsMeasured(named, at=choice.at)
    if not text:
        text = yield from _own_answer(dispatchers, experts, settings, prompt)

    def variants(own: Scales) -> list[Scales]:
        return [with_component(adapter.factors, own, one, choice.at) for one in wanted]

    found = yield from switched(dispatchers, prompt, experts, text, settings, variants)
    option = text_ids(tokenizer, text)
    activity = yield from _activity(adapter, found.plan, option, wanted)  # (n, T)
    before, behind = (len(part) for part in chat_around(tokenizer, "", ""))
    asked = found.plan.prompt_ids[before : len(found.plan.prompt_ids) - behind]
    shown = [*range(before, before + len(asked))]
    shown += range(len(found.plan.prompt_ids), activity.shape[1])
    return ComponentsMeasured(
        named,
        found.plan.scope,
        (*token_texts(tokenizer, asked), *token_texts(tokenizer, option)[:-1]),
        len(asked),
        tuple(map(tuple, activity[:, shown].tolist())),
        text,
        found.tokens,
        found.base,
        found.adapted,
        found.switched,
        choice.at,
    )


def components_of(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    experts: Mapping[str, Expert],
    settings: AnswerSettings,
    choice: ComponentChoice | None = None,
    prompt: str = "",
    text: str = "",
) -> ComponentsMeasured:
    """`measure_components` on a model that the caller holds.

    Args:
        experts, settings, choice, prompt, text: as of `measure_components`.

    Raises:
        InputError: as there, or a bad prompt.
    """
    if prompt:
        check_prompt(prompt)
    with adapted(model) as adapter:
        for expert in experts.values():
            adapter.check(expert, allow_transfer=True)
        dispatchers = Dispatchers(model, tokenizer, adapter)
        pieces = measure_components(
            dispatchers, experts, settings, choice or ComponentChoice(), prompt, text
        )
        while True:
            try:
                next(pieces)
            except StopIteration as ended:
                found: ComponentsMeasured = ended.value
                return found


def _wanted(
    factors: Mapping[str, Factors], scales: Scales, choice: ComponentChoice
) -> list[tuple[str, int]]:
    if choice.chosen:
        if len(choice.chosen) > MOST:
            raise InputError(f"{len(choice.chosen)} components are chosen; at most {MOST} can be.")
        for name, index in choice.chosen:
            check_component(factors, name, index)
        return list(choice.chosen)
    names = matrices(factors, choice.module, choice.layer)
    found = most_changed(factors, scales, names, choice.count, choice.by)
    if not found:
        raise InputError(
            "The mixture changes none of these matrices, so no component stands out: give a "
            "coefficient that is not 0, or look at other matrices."
        )
    return found


# --- names ---------------------------------------------------------------------------------------


def _named(
    adapter: Adapter,
    tokenizer: PreTrainedTokenizerBase,
    scales: Scales,
    wanted: Sequence[tuple[str, int]],
) -> Pieces[tuple[NamedComponent, ...]]:
    """In the order wanted. What lies behind the same norms is looked up together."""
    ends: dict[tuple[str, int], Ends | None] = {}
    groups: dict[tuple[int, str | None, bool], list[tuple[str, int]]] = {}
    for name, index in wanted:
        groups.setdefault((layer_of(name), kind_of(name), _reads(name)), []).append((name, index))
    for group in groups.values():
        ends |= dict(zip(group, _ends(adapter, tokenizer, group), strict=True))
        yield
    found = []
    for name, index in wanted:
        S, z = adapter.factors[name].S, scales.get(name)
        distance, own = gap(S, index), ends[name, index]
        reads, writes = joined(name)
        unknown = UNKNOWN_NORMS if own is None else ""
        found.append(
            NamedComponent(
                name=name,
                index=index,
                layer=layer_of(name),
                sigma=float(S[index]),
                z=1.0 if z is None else float(z[index]),
                gap=distance,
                unique=distance >= NEARLY_EQUAL,
                reads_what=reads + (unknown if reads == STREAM else ""),
                writes_what=writes + (unknown if writes == STREAM else ""),
                reads=own if reads == STREAM else None,
                writes=own if writes == STREAM else None,
            )
        )
    return tuple(found)


def _reads(name: str) -> bool:
    """Whether the matrix reads the residual stream; else it writes to it."""
    return joined(name)[0] == STREAM


def _ends(
    adapter: Adapter, tokenizer: PreTrainedTokenizerBase, group: Sequence[tuple[str, int]]
) -> list[Ends | None]:
    """The tokens at the ends of components of one half of one block, all read or all written."""
    name = group[0][0]
    model = adapter.model
    norms = norms_around(model, name, str(kind_of(name)))
    if norms is None:
        return [None] * len(group)
    factors, reads = adapter.factors, _reads(name)
    rows = [factors[n].Vh[i] if reads else factors[n].U[:, i] for n, i in group]
    directions = torch.stack(rows)
    both = torch.cat([directions, random_directions(directions)])
    count = min(len(tokenizer), model.get_output_embeddings().weight.shape[0])
    scores = (aligned if reads else promoted)(model, norms, both, count)
    by_chance = chance(scores[len(group) :])
    return [
        Ends(_best(tokenizer, own), _best(tokenizer, -own), by_chance)
        for own in scores[: len(group)]
    ]


def _best(
    tokenizer: PreTrainedTokenizerBase,
    scores: Tensor,  # (tokens,)
) -> tuple[tuple[str, float], ...]:
    best = scores.topk(min(TOKENS, len(scores)))
    pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
    return tuple((text_of(tokenizer, [token], special=True), value) for token, value in pairs)


# --- tests ---------------------------------------------------------------------------------------


def _own_answer(
    dispatchers: Dispatchers,
    experts: Mapping[str, Expert],
    settings: AnswerSettings,
    prompt: str,
) -> Pieces[str]:
    """How the mixture begins its answer."""
    greedy = replace(settings, sampling=Sampling(max_new_tokens=ANSWER_TOKENS))
    answering = sweep(dispatchers, prompt, experts, Lineup([settings.mixture or {}]), greedy)
    while True:
        try:
            next(answering)
        except StopIteration as ended:
            text: str = ended.value.columns[0].text
            break
        yield
    if not text:
        raise InputError("The mixture answers this prompt with nothing: give an answer to test.")
    return text


def _activity(
    adapter: Adapter, plan: Plan, option: Sequence[int], wanted: Sequence[tuple[str, int]]
) -> Pieces[Tensor]:  # (n, T) float32, CPU: of the prompt, then of the option but its last token
    """v · x of each component at each token, x as the matrix reads it under the mixture."""
    by_matrix: dict[str, list[int]] = {}
    for name, index in dict.fromkeys(wanted):
        by_matrix.setdefault(name, []).append(index)
    seen: dict[str, list[Tensor]] = {name: [] for name in by_matrix}
    watched = partial(_watched, adapter, by_matrix, seen)
    yield from log_likelihoods(adapter, plan, option, [plan.scales], watched)
    whole = {name: torch.cat(pieces) for name, pieces in seen.items()}  # (T, components)
    return torch.stack([whole[n][:, by_matrix[n].index(i)] for n, i in wanted])


@contextmanager
def _watched(
    adapter: Adapter, by_matrix: Mapping[str, Sequence[int]], seen: Mapping[str, list[Tensor]]
) -> Iterator[None]:
    """Note v · x of these components whenever their matrices are read inside the block."""

    def note(name: str) -> RemovableHandle:
        linear = adapter.linears[name]
        Vh = linear.factors.Vh[list(by_matrix[name])]

        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen[name].append((inputs[0][0].float() @ Vh.float().T).cpu())

        return linear.module.register_forward_pre_hook(hook)

    handles = [note(name) for name in by_matrix]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
