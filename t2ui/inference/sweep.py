"""One prompt under several mixtures, answered in one batch: where the answers part, how likely each
mixture finds a given text, and which layers it owes that to.

The mixtures of one sweep act on the same tokens (one scope), so that one reading of the prompt can
serve them all. Long work is done in pieces: generators that yield between two of them, with the
model as it was.
"""

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.checks import Alpha, check_prompt
from t2ui.config import AnswerSettings
from t2ui.errors import InputError
from t2ui.inference.decoding import Decoder
from t2ui.inference.differences import parting, token_texts
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.lineup import plans_of
from t2ui.inference.plan import Plan
from t2ui.lineup import Lineup
from t2ui.models.chat import text_ids
from t2ui.models.likelihood import packed_log_likelihoods
from t2ui.models.loading import context_limit
from t2ui.models.questions import Question
from t2ui.models.read_prompts import read_prompts
from t2ui.models.running import BaseReading, tokens_at_once
from t2ui.svf.adapter import Adapter, Scales, adapted
from t2ui.svf.decomposition import layer_of
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture

T = TypeVar("T")
Pieces = Generator[tuple[str, ...], None, T]  # yields the answers' texts so far


@dataclass(frozen=True)
class Column:
    """What one mixture answers."""

    mixture: Mixture
    control: str  # of that mixture, a name of catalogue.CONTROLS; "": the mixture itself
    token_ids: tuple[int, ...]  # without the end token
    pieces: tuple[str, ...]  # the text that each token adds
    finished: str  # end | stop | length | failed (its logits were not finite any more)
    # Σ log π(token | …) of the given text under this mixture, nats; None where none was given
    log_likelihood: float | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class Sweep:
    """The answers to one prompt, in the order of the mixtures."""

    columns: tuple[Column, ...]
    parts_at: int | None  # place of the first token that is not the same in all; None: all equal
    scope: str  # which tokens the mixtures act on, one of config.SCOPES
    given_tokens: int  # of the given text


@dataclass(frozen=True)
class LayerEffects:
    """Σ log π(token | …) of a text, nats, with layers of a mixture switched off one at a time."""

    base: float  # every layer off
    adapted: float  # none off
    without: tuple[float, ...]  # by layer: that one off
    tokens: int  # of the text


@dataclass(frozen=True)
class Switched:
    """Σ log π(token | …) of a text, nats, under a mixture and variants of it."""

    base: float
    adapted: float  # the mixture as it is
    switched: tuple[float, ...]  # by variant
    tokens: int  # of the text
    plan: Plan  # of the mixture


def sweep(
    dispatchers: Dispatchers,
    prompt: str,
    experts: Mapping[str, Expert],
    lineup: Lineup,
    settings: AnswerSettings,
    given: str = "",
) -> Pieces[Sweep]:
    """Answer with every column of a line-up, all of them in one batch.

    Args:
        settings: how each is answered; their `mixture` and `dispatch` are not used.
        given: a text, the right answer say, whose log-likelihood behind the prompt is wanted.

    Raises:
        InputError: what `plans_of` raises.
    """
    adapter, tokenizer = dispatchers.adapter, dispatchers.tokenizer
    plans = plans_of(dispatchers, prompt, experts, lineup, settings)
    option = text_ids(tokenizer, given) if given else ()
    for plan in plans:
        _check_context(adapter, plan.prompt_ids, option)
    decoder = Decoder(adapter.model, tokenizer, adapter)
    decoder.add(plan.row(number) for number, plan in enumerate(plans))
    tokens: list[list[int]] = [[] for _ in plans]
    texts, finished = [""] * len(plans), [""] * len(plans)
    while len(decoder):
        for step in decoder.step(tokens_at_once(adapter.model)):
            if step.finished not in ("end", "failed"):
                tokens[step.key].append(step.token)
            texts[step.key] += step.text
            finished[step.key] = step.finished or ""
        yield tuple(texts)
    likelihoods: list[float | None] = [None] * len(plans)
    for prompt_ids in {tuple(plan.prompt_ids): None for plan in plans} if option else ():
        places = [i for i, plan in enumerate(plans) if tuple(plan.prompt_ids) == prompt_ids]
        scales = [plans[i].scales for i in places]
        scored = log_likelihoods(adapter, plans[places[0]], option, scales)
        found = yield from _beside(scored, tuple(texts))
        for i, likelihood in zip(places, found, strict=True):
            likelihoods[i] = likelihood
    columns = tuple(
        Column(
            plan.mixture,
            lineup.columns[i],
            tuple(tokens[i]),
            tuple(token_texts(tokenizer, tokens[i])),
            finished[i],
            likelihoods[i],
        )
        for i, plan in enumerate(plans)
    )
    return Sweep(columns, parting(tokens), plans[0].scope, len(option))


def layers_off(
    dispatchers: Dispatchers,
    prompt: str,
    experts: Mapping[str, Expert],
    text: str,
    settings: AnswerSettings,
) -> Generator[None, None, LayerEffects]:
    """How likely a text is behind a prompt when the mixture leaves out one layer at a time.

    Args:
        settings: with the mixture.

    Raises:
        InputError: an empty text, a mixture that is the base model, or what `make_plan` raises.
    """
    layers = range(1 + max(map(layer_of, dispatchers.adapter.names)))

    def left(scales: Scales) -> list[Scales]:
        if not scales:
            raise InputError(
                "Every coefficient is 0, so there is nothing to switch off: give one that is not."
            )
        return [{n: z for n, z in scales.items() if layer_of(n) != layer} for layer in layers]

    found = yield from switched(dispatchers, prompt, experts, text, settings, left)
    return LayerEffects(found.base, found.adapted, found.switched, found.tokens)


def switched(
    dispatchers: Dispatchers,
    prompt: str,
    experts: Mapping[str, Expert],
    text: str,
    settings: AnswerSettings,
    variants: Callable[[Scales], Sequence[Scales]],
) -> Generator[None, None, Switched]:
    """How likely a text is behind a prompt under the base model, a mixture and variants of it.

    Args:
        settings: with the mixture.
        variants: the mixture's scales, with parts of them switched off say.

    Raises:
        InputError: an empty text, or what `variants` and `make_plan` raise.
    """
    only = Lineup([settings.mixture or {}])
    (plan,) = plans_of(dispatchers, prompt, experts, only, settings)
    adapter = dispatchers.adapter
    option = text_ids(dispatchers.tokenizer, text)
    if not option:
        raise InputError("There is no text to score: give an answer.")
    _check_context(adapter, plan.prompt_ids, option)
    scales = [{}, plan.scales, *variants(plan.scales)]
    found = yield from log_likelihoods(adapter, plan, option, scales)
    return Switched(found[0], found[1], tuple(found[2:]), len(option), plan)


def compare_mixtures(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    experts: Mapping[str, Expert],
    lineup: Lineup | Sequence[Mapping[str, Alpha]],
    settings: AnswerSettings | None = None,
    given: str = "",
) -> Sweep:
    """`sweep` on a model that the caller holds: one prompt, several mixtures, one batch.

    Args:
        lineup: what is compared, or only its mixtures: coefficients by expert, {} the base model.
        experts, settings, given: as of `sweep`.

    Raises:
        InputError: a bad prompt or mixture; one line says what to do.
    """
    check_prompt(prompt)
    if not isinstance(lineup, Lineup):
        lineup = Lineup(lineup)
    with adapted(model) as adapter:
        for expert in experts.values():
            adapter.check(expert, allow_transfer=True)
        dispatchers = Dispatchers(model, tokenizer, adapter)
        pieces = sweep(dispatchers, prompt, experts, lineup, settings or AnswerSettings(), given)
        while True:
            try:
                next(pieces)
            except StopIteration as ended:
                found: Sweep = ended.value
                return found


def log_likelihoods(
    adapter: Adapter,
    plan: Plan,
    option: Sequence[int],
    scales: Sequence[Scales],
    within: Callable[[], AbstractContextManager] = nullcontext,
) -> Generator[None, None, list[float]]:
    """Σ log π of the option's tokens behind the plan's prompt, for each of the scales.

    Args:
        within: entered anew for every forward pass, when the model is held.
    """
    question = Question(tuple(plan.prompt_ids), (tuple(option),))
    tail, read = plan.tail or 0, None
    if tail:
        reading = BaseReading(tail, adapter.disabled)
        with adapter.kept(), within():
            read = read_prompts(adapter.model, [question], reading)
        yield
    at_once = max(1, tokens_at_once(adapter.model) // question.tokens)
    found: list[float] = []
    for first in range(0, len(scales), at_once):
        part = scales[first : first + at_once]
        with torch.inference_mode(), adapter.rows(part), within():
            scored = packed_log_likelihoods(adapter.model, [question], len(part), read, tail)
        found += [float(options[0]) for (options,) in scored]
        yield
    return found


def _beside(work: Generator[None, None, T], texts: tuple[str, ...]) -> Pieces[T]:
    """The same work; what it yields are the texts that are there already."""
    while True:
        try:
            next(work)
        except StopIteration as ended:
            found: T = ended.value
            return found
        yield texts


def _check_context(adapter: Adapter, prompt: Sequence[int], option: Sequence[int]) -> None:
    limit = context_limit(adapter.model)
    if limit is not None and len(prompt) + len(option) > limit:
        raise InputError(
            f"Prompt and given text have {len(prompt) + len(option)} tokens; the model's context "
            f"holds {limit}: shorten one of them."
        )
