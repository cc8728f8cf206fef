"""Prompt → pass one → mixture → pass two, on a model the caller holds (paper, section 3.2).

The model is left as it was, whatever is raised. Several threads may answer with one model: they
take turns between its steps. Every answer carries a receipt that replays it.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.checks import Alpha, Turn, check_prompt
from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import generate
from t2ui.inference.dispatch import Classification
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import Plan, asked_ids, make_plan, nth, receipt_of
from t2ui.inference.replayed import Difference, parted, said_difference
from t2ui.inference.rows import Completion
from t2ui.models.loading import dtype_name, model_name
from t2ui.svf.adapter import Adapter, adapted
from t2ui.svf.decomposition import same_model
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture, mix


@dataclass(frozen=True)
class TwoPassResult:
    """The answer and how it came about; `str(result)` is the answer."""

    text: str
    token_ids: tuple[int, ...]
    label: str | None  # None without pass one
    probabilities: dict[str, float]  # calibrated, by label; empty without pass one
    classification: Classification | None
    mixture: Mixture
    scope: str  # which tokens it acted on, one of config.SCOPES
    note: str  # why the base model answers, or that an expert is a cross-model transfer
    timings: dict[str, float]  # seconds: pass_one, pass_two
    receipt: dict[str, Any]
    difference: Difference | None = None  # of a replayed answer to what its receipt says

    def __str__(self) -> str:
        return self.text


def two_pass_infer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    experts: Mapping[str, Expert],
    *,
    dispatch: str | None = None,
    mixture: Mixture | None = None,
    routing: str = AnswerSettings.routing,
    threshold: float = AnswerSettings.threshold,
    normalise: bool = AnswerSettings.normalise,
    sampling: Sampling | None = None,
    allow_transfer: bool = AnswerSettings.allow_transfer,
    scope: str = AnswerSettings.scope,
    timeline: Sequence[tuple[int, Mapping[str, Alpha]]] = (),
    before: Sequence[Turn] = (),
    plain: bool = AnswerSettings.plain,
) -> TwoPassResult:
    """Classify the prompt, adapt the model accordingly, answer.

    Args:
        model, tokenizer: any transformers causal model. Its matrices are decomposed on the first
            call (kept on disk); hold `adapt(model)` yourself to keep them in memory over calls.
        experts: by name; a classification expert among them serves `dispatch="expert"`. All must
            have this model's shapes.
        dispatch: a name of `catalogue.DISPATCHERS`; by default "both" where this model has a
            classification expert and experts with examples, "expert" where it has only the former,
            otherwise "prompt".
        mixture: answer with this instead of pass one.
        routing, threshold: see `dispatch.route`.
        normalise: divide the mixture's coefficients by their sum, whoever made it.
        allow_transfer: use experts that were made for other weights of the same shapes. Without
            it pass one passes them over, and a mixture that needs one is refused.
        scope: which tokens the mixture acts on: "all", as in the paper, or "answer", from the end
            of the prompt on; by default what its experts were trained for, and "all" where they
            differ.
        timeline: (place, coefficients), by place: from the answer's token at that place on,
            counted from 0 and at least 1, these answer, never divided by their sum. Receipts of
            steered answers hold it.
        before: what was said before the prompt, as (role, text): the chat format takes the whole
            conversation, pass one reads the prompt alone.
        plain: go on writing the prompt, without any chat format.

    Raises:
        InputError: a bad prompt, setting or expert; one line says what to do.
    """
    given = mixture or Mixture()
    settings = AnswerSettings(
        mixture=None if mixture is None else given.weights,
        dispatch=dispatch or "",
        routing=routing,
        threshold=threshold,
        normalise=normalise or given.normalise,
        allow_transfer=allow_transfer,
        scope=scope or given.scope,
        sampling=sampling or Sampling(),
        timeline=tuple(timeline),
        before=tuple(before),
        plain=plain,
    )
    return answer(model, tokenizer, prompt, experts, settings)


def answer(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    experts: Mapping[str, Expert],
    settings: AnswerSettings,
) -> TwoPassResult:
    """`two_pass_infer` with its settings in one value: plan, then run.

    Raises:
        InputError: what `two_pass_infer` raises.
    """
    check_prompt(prompt)  # before the model's matrices are decomposed
    with adapted(model) as adapter:
        for expert in experts.values():
            adapter.check(expert, allow_transfer=True)
        plan = make_plan(Dispatchers(model, tokenizer, adapter), prompt, experts, settings)
        return run_plan(plan, tokenizer, adapter)


def run_plan(plan: Plan, tokenizer: PreTrainedTokenizerBase, adapter: Adapter) -> TwoPassResult:
    """Pass two: decode the plan's answer alone. Where others wait too, the worker runs its rows
    (`Plan.row`) in one batch with theirs."""
    began = time.perf_counter()
    (completion,) = generate(adapter.model, tokenizer, [plan.row(0)], adapter)
    timings = {"pass_one": plan.seconds, "pass_two": time.perf_counter() - began}
    found = plan.classification
    return TwoPassResult(
        text=completion.text,
        token_ids=completion.token_ids,
        label=found.label if found else None,
        probabilities=found.probabilities if found else {},
        classification=found,
        mixture=plan.mixture,
        scope=plan.scope,
        note=plan.note,
        timings=timings,
        receipt=receipt_of(plan, adapter, timings, answer=_without_end(completion)),
    )


def _without_end(completion: Completion) -> tuple[int, ...]:
    return completion.token_ids[: -1 if completion.finished == "end" else None]


def replay(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    receipt: Mapping[str, Any],
    experts: Mapping[str, Expert],
    sample: int = 0,
) -> TwoPassResult:
    """Answer again as a receipt says.

    Token for token in float32 on the same kind of device and with the same versions; on another
    device, or where the receipt's answer was decoded in 16 bits beside others, up to rounding:
    `difference` is then the first token that differs, and None otherwise.

    Args:
        sample: which of several answers to one prompt, from 0.

    Raises:
        InputError: the model has other weights or another dtype than the receipt's, or an expert
            is missing or has other scales.
    """
    for name, digest in receipt["experts"].items():
        have = f"one with {experts[name].sha256[:12]}…" if name in experts else "none of that name"
        if name not in experts or experts[name].sha256 != digest:
            raise InputError(
                f"The receipt used an expert {name!r} with hash {digest[:12]}…, there is {have}: "
                "load the expert file it was made with."
            )
    weights = receipt["mixture"]
    timeline = receipt.get("timeline", ())
    settings = {**receipt["sampling"], "stop": tuple(receipt["sampling"]["stop"])}
    if receipt["dtype"] != dtype_name(model):
        raise InputError(
            f"The receipt was made in {receipt['dtype']} and the model is in {dtype_name(model)}, "
            f"which gives other tokens: load it with dtype {receipt['dtype']}."
        )
    modules = receipt.get("modules", "all")  # older receipts do not say
    with adapted(model, modules) as adapter:
        if adapter.modules != modules:
            raise InputError(
                f"The receipt was made with {modules} matrices adapted and the model's adapter has "
                f"{adapter.modules}: remove() it, or make it with adapt(model, {modules!r})."
            )
        if not same_model(receipt["fingerprint"], adapter.fingerprint):
            raise InputError(
                f"The receipt was made with {receipt['model']}; {model_name(model)} has other "
                "weights: load the model it was made with."
            )
        before, plain = receipt.get("before", ()), receipt.get("plain", False)
        result = two_pass_infer(
            model,
            tokenizer,
            receipt["prompt"],
            experts,
            mixture=Mixture(weights, receipt["normalise"]),
            scope=receipt.get("scope", "all"),  # older receipts do not say
            timeline=timeline,
            before=before,
            plain=plain,
            sampling=nth(Sampling(**settings), sample),
            allow_transfer=True,
        )
        recorded = receipt.get("answer", ()) if sample == 0 else ()  # it holds the first alone
        place = parted(recorded, result.token_ids)
        if place is None:
            return result
        ids = asked_ids(tokenizer, receipt["prompt"], before, plain)
        difference = said_difference(
            model,
            tokenizer,
            adapter,
            (ids, recorded, result.token_ids),
            place,
            None if timeline else mix(experts, result.mixture),
            result.scope,
        )
        return replace(result, difference=difference)
