"""What will answer a prompt: the one plan that library, command line, page and HTTP go through.

Dispatch, routing, threshold, normalising, transfers and the mixture are decided here and nowhere
else, and so is what is said of them: the note, and the receipt that replays the answer. Decodes
nothing: `two_pass.run_plan` runs a plan alone, the worker runs its rows in a batch with others.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from torch import Tensor
from transformers import PreTrainedTokenizerBase

from t2ui import __version__
from t2ui.catalogue import DISPATCHERS
from t2ui.checks import Alpha, Turn, check_prompt
from t2ui.config import LEAST_SUM, OTHERS, AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import Row
from t2ui.inference.dispatch import Classification, route
from t2ui.inference.dispatchers import Dispatchers
from t2ui.models.chat import answer_tail, chat_ids, plain_ids
from t2ui.models.loading import dtype_name, model_name
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix, mixture_of, scope_of, scopes_of, used


@dataclass(frozen=True)
class Change:
    """A mixture that takes over in mid-answer."""

    mixture: Mixture  # as it acts, see `Mixture.as_it_acts`
    experts: Mapping[str, Expert]  # those that it names
    scales: Mapping[str, Tensor]  # its z′ by matrix


@dataclass(frozen=True)
class Plan:
    """What answers one prompt, and how that came about."""

    prompt: str
    settings: AnswerSettings
    dispatch: str  # the dispatcher that was used, a name of catalogue.DISPATCHERS
    classification: Classification | None  # None without pass one
    mixture: Mixture
    set_by: str  # a sentence part: "classification expert, 0.93"
    note: str  # why the base model answers, or that an expert is a cross-model transfer
    experts: Mapping[str, Expert]  # those that the mixture names
    prompt_ids: list[int]
    scope: str  # which tokens the mixture acts on, one of config.SCOPES
    tail: int | None  # of the prompt, that it acts on in scope "answer"; see `Row`
    scales: Mapping[str, Tensor]  # z′ by matrix; {} is the base model
    timeline: tuple[tuple[int, Mapping[str, Tensor]], ...]  # (place, z′ from there on)
    seconds: float  # of pass one; 0 without

    def row(
        self,
        key: Any,
        base: bool = False,
        draft: Sequence[int] = (),
        sample: int = 0,
        logprobs: int | None = None,
    ) -> Row:
        """The row that a decoder writes: with the mixture, or `base`, the model as it is.

        Args:
            draft, logprobs: see `Row`.
            sample: which of several answers to the prompt, from 0; see `nth`.
        """
        sampling = nth(self.settings.sampling, sample)
        if base:
            return Row(key, self.prompt_ids, None, sampling, self.tail, draft, logprobs=logprobs)
        if self.timeline:
            draft = ()  # it would be checked under the first scales alone
        prompt, later = self.prompt_ids, self.timeline
        return Row(key, prompt, self.scales, sampling, self.tail, draft, later, logprobs)


def nth(sampling: Sampling, sample: int) -> Sampling:
    """The settings of one of several answers to a prompt, from 0: each has the next seed."""
    return replace(sampling, seed=(sampling.seed + sample) % 2**63) if sample else sampling


def make_plan(
    dispatchers: Dispatchers,
    prompt: str,
    experts: Mapping[str, Expert],
    settings: AnswerSettings,
) -> Plan:
    """From a prompt to what answers it.

    Experts made for other weights of the same shapes are used only with `allow_transfer`: without
    it pass one passes them over, the note says which, and a mixture that needs one is refused.

    Raises:
        InputError: a bad prompt, a dispatcher that is not usable or has nothing to choose, an
            unknown expert, a transfer that nobody allowed, or coefficients that cannot be
            normalised.
    """
    check_prompt(prompt)
    adapter = dispatchers.adapter
    usable = usable_experts(adapter, experts, settings.allow_transfer)
    name = settings.dispatch or default_dispatch(dispatchers, usable)
    passed_over = [expert for expert in experts if expert not in usable]
    began = time.perf_counter()
    found = _classified(dispatchers, name, prompt, usable, passed_over)
    seconds = time.perf_counter() - began if found else 0.0
    words = DISPATCHERS[name].words
    if found is None:
        mixture = mixture_of(settings.mixture or {}, settings.normalise, settings.scope)
        set_by, notes = "you" if mixture.weights else words, []
    else:
        mixture, note = _routed(found, usable, settings)
        remark = f" ({found.remark})" if found.remark else ""
        set_by = f"{words}{remark}, {found.probabilities[found.label]:.2f}"
        notes = [note, _said_of(passed_over)]
    scales = mix(experts, mixture)
    scope = scope_of(mixture, experts)
    if not mixture.scope and len(scopes_of(mixture, experts)) > 1:
        notes.append("its experts were trained for different scopes: they act on every token")
    for expert in refuse_transfers(adapter, experts, mixture, settings.allow_transfer):
        notes.append(
            f"{expert.name}: a cross-model transfer from {expert.base_model or 'other weights'}"
        )
    tokenizer, tail = dispatchers.tokenizer, None
    if scope == "answer":
        tail = 1 if settings.plain else answer_tail(tokenizer)
    later = {
        place: changed(adapter, experts, mixture_of(weights), settings.allow_transfer)
        for place, weights in settings.timeline
    }
    named = {*mixture.weights, *(name for change in later.values() for name in change.experts)}
    return Plan(
        prompt=prompt,
        settings=settings,
        dispatch=name,
        classification=found,
        mixture=mixture,
        set_by=set_by,
        note="; ".join(filter(None, notes)),
        experts={name: experts[name] for name in experts if name in named},
        prompt_ids=asked_ids(tokenizer, prompt, settings.before, settings.plain),
        scope=scope,
        tail=tail,
        scales=scales,
        timeline=tuple((place, change.scales) for place, change in later.items()),
        seconds=seconds,
    )


def asked_ids(
    tokenizer: PreTrainedTokenizerBase, prompt: str, before: Sequence[Turn], plain: bool
) -> list[int]:
    """The token ids that the model reads; see `two_pass_infer` for `before` and `plain`."""
    return plain_ids(tokenizer, prompt) if plain else chat_ids(tokenizer, prompt, before=before)


def changed(
    adapter: Adapter,
    experts: Mapping[str, Expert],
    mixture: Mixture,
    allow_transfer: bool,
) -> Change:
    """The change to a mixture in mid-answer. The answer keeps its scope: what is read is read.

    Raises:
        InputError: an unknown expert, or a transfer that nobody allowed.
    """
    mixture = mixture.as_it_acts
    scales = mix(experts, mixture)
    refuse_transfers(adapter, experts, mixture, allow_transfer)
    return Change(mixture, {name: experts[name] for name in mixture.weights}, scales)


def default_dispatch(dispatchers: Dispatchers, usable: Mapping[str, Expert]) -> str:
    """The dispatcher where nobody chose one and no mixture is given, at every door: the router and
    the classification expert where both can be used, the latter alone, otherwise the prompt."""
    found = (name for name in ("both", "expert") if dispatchers[name].usable(usable))
    return next(found, "prompt")


def usable_experts(
    adapter: Adapter, experts: Mapping[str, Expert], allow_transfer: bool
) -> dict[str, Expert]:
    """The experts that pass one may use and choose: without `allow_transfer` only this model's."""
    return {n: e for n, e in experts.items() if allow_transfer or not adapter.is_transfer(e)}


def refuse_transfers(
    adapter: Adapter, experts: Mapping[str, Expert], mixture: Mixture, allow_transfer: bool
) -> list[Expert]:
    """The experts that a mixture uses and that were made for other weights than this model's.

    Raises:
        InputError: there are some, and nobody allowed it.
    """
    mixed = [experts[name] for name, alpha in mixture.weights.items() if used(alpha)]
    for expert in mixed:
        adapter.check(expert, allow_transfer)
    return [expert for expert in mixed if adapter.is_transfer(expert)]


def _classified(
    dispatchers: Dispatchers,
    name: str,
    prompt: str,
    usable: Mapping[str, Expert],
    passed_over: list[str],
) -> Classification | None:
    """Pass one; None for the dispatcher that has none."""
    dispatcher = dispatchers[name]
    why = f" ({_said_of(passed_over)})" if passed_over else ""
    if not dispatcher.usable(usable):
        raise InputError(
            f"dispatch is {name!r} ({DISPATCHERS[name].words}), but an expert that it needs is not "
            f"loaded{why}: {dispatcher.remedy}."
        )
    if passed_over and dispatcher.labels(usable) == (OTHERS,):
        raise InputError(
            f"Pass one has no expert of this model to choose{why}: give a mixture, or ask for a "
            "cross-model transfer (allow_transfer)."
        )
    return dispatcher.classify(prompt, usable)


def _routed(
    found: Classification, usable: Mapping[str, Expert], settings: AnswerSettings
) -> tuple[Mixture, str]:
    """The mixture that pass one makes, and a note where the base model answers."""
    answering = {n: e for n, e in usable.items() if not e.is_dispatcher}
    mixture, note = route(found, answering, settings.routing, settings.threshold)
    total = sum(mixture.at_layer(0).values())
    if settings.normalise and mixture.weights and total < LEAST_SUM:
        return Mixture(), "others: the base model answers"  # nothing that could be divided
    return mixture_of(mixture.weights, settings.normalise, settings.scope), note


def _said_of(passed_over: list[str]) -> str:
    return (
        f"passed over, as made for other weights: {', '.join(passed_over)}" if passed_over else ""
    )


def plain_weights(weights: Mapping[str, Alpha]) -> dict[str, float | list[float]]:
    """As JSON has them."""
    return {n: list(a) if isinstance(a, tuple) else a for n, a in weights.items()}


def receipt_of(
    plan: Plan,
    adapter: Adapter,
    timings: Mapping[str, float],
    steered: Mapping[int, Change] | None = None,
    answer: Sequence[int] = (),
) -> dict[str, Any]:
    """Plain data that says what answered, and what `two_pass.replay` needs to answer so again.

    Args:
        timings: seconds, by what took them.
        steered: what was changed while it was written, by the first token's place, beyond the
            plan's own timeline.
        answer: its tokens, without an end token.
    """
    import torch
    import transformers

    found, sampling = plan.classification, plan.settings.sampling
    timeline, used_experts = dict(plan.settings.timeline), dict(plan.experts)
    for place, change in (steered or {}).items():
        timeline[place] = change.mixture.weights
        used_experts |= change.experts
    return {
        "model": model_name(adapter.model),
        "fingerprint": adapter.fingerprint,
        "modules": adapter.modules,
        "dtype": dtype_name(adapter.model),
        "device": adapter.model.device.type,
        "prompt": plan.prompt,
        "before": [list(turn) for turn in plan.settings.before],
        "plain": plan.settings.plain,
        "dispatch": plan.dispatch,
        "label": found.label if found else None,
        "probabilities": found.probabilities if found else {},
        "set_by": plan.set_by,
        "note": plan.note,
        "mixture": plain_weights(plan.mixture.weights),
        "timeline": [[place, plain_weights(timeline[place])] for place in sorted(timeline)],
        "normalise": plan.mixture.normalise,
        "scope": plan.scope,
        "experts": {name: expert.sha256 for name, expert in used_experts.items()},
        "answer": list(answer),
        "sampling": {**asdict(sampling), "stop": list(sampling.stop)},
        "timings": {key: round(value, 4) for key, value in timings.items()},
        "versions": {
            "t2ui": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }
