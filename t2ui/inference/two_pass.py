"""Prompt → pass one → mixture → pass two, on a model the caller holds (paper, section 3.2).

The model is left as it was, whatever is raised. Several threads may answer with one model: they
take turns between its steps. Every answer carries a receipt that replays it.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from t2ui import __version__
from t2ui.config import DISPATCH_MODES, Sampling, check_prompt
from t2ui.errors import InputError
from t2ui.inference.decoding import Row, generate
from t2ui.inference.dispatch import Classification, Dispatcher, route
from t2ui.models.chat import chat_ids
from t2ui.models.loading import dtype_name, model_name
from t2ui.svf.adapter import Adapter, adapted
from t2ui.svf.decomposition import same_model
from t2ui.svf.expert import Expert
from t2ui.svf.library import dispatcher_in, labels_of
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
    note: str  # why the base model answers, or that an expert is a cross-model transfer
    timings: dict[str, float]  # seconds: pass_one, pass_two
    receipt: dict[str, Any]

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Dispatched:
    """What pass one decided."""

    mixture: Mixture
    set_by: str  # a sentence part: "classification expert, 0.93"
    note: str
    classification: Classification | None


def two_pass_infer(
    model,
    tokenizer,
    prompt: str,
    experts: Mapping[str, Expert],
    *,
    dispatch: str | None = None,
    mixture: Mixture | None = None,
    routing: str = "hard",
    threshold: float = 0.0,
    sampling: Sampling | None = None,
    allow_transfer: bool = False,
) -> TwoPassResult:
    """Classify the prompt, adapt the model accordingly, answer.

    Args:
        model, tokenizer: any transformers causal model. Its matrices are decomposed on the first
            call (kept on disk); hold `adapt(model)` yourself to keep them in memory over calls.
        experts: by name; a classification expert among them serves `dispatch="expert"`. All must
            have this model's shapes.
        dispatch: "prompt", "expert" or "none"; by default "expert" where there is one.
        mixture: answer with this instead of pass one.
        routing, threshold: see `dispatch.route`.
        allow_transfer: use experts that were made for other weights of the same shapes. Without
            it pass one passes them over, and a mixture that needs one is refused.

    Raises:
        InputError: a bad prompt, setting or expert; one line says what to do.
    """
    check_prompt(prompt)
    with adapted(model) as adapter:
        for expert in experts.values():
            adapter.check(expert, allow_transfer=True)
        started = time.perf_counter()
        if mixture is None:
            usable = experts if allow_transfer else _without_transfers(adapter, experts)
            mode = dispatch or ("expert" if dispatcher_in(usable) else "prompt")
            dispatcher = Dispatcher(model, tokenizer, adapter)
            decided = decide(dispatcher, prompt, experts, mode, routing, threshold, allow_transfer)
        elif dispatch not in (None, "none"):
            raise InputError("A mixture and a dispatcher were both given: choose one of them.")
        else:
            decided = Dispatched(mixture, "you", "", None)
        transfers = transfers_in(adapter, experts, decided.mixture)
        for expert in transfers:
            adapter.check(expert, allow_transfer)
        pass_one = time.perf_counter() - started
        sampling = sampling or Sampling()
        row = Row(0, chat_ids(tokenizer, prompt), mix(experts, decided.mixture), sampling)
        (completion,) = generate(model, tokenizer, [row], adapter)
        timings = {"pass_one": pass_one, "pass_two": time.perf_counter() - started - pass_one}
        said = [f"{expert.name}: a cross-model transfer" for expert in transfers]
        note = "; ".join(filter(None, [decided.note, *said]))
        classification = decided.classification
        return TwoPassResult(
            text=completion.text,
            token_ids=completion.token_ids,
            label=classification.label if classification else None,
            probabilities=classification.probabilities if classification else {},
            classification=classification,
            mixture=decided.mixture,
            note=note,
            timings=timings,
            receipt=make_receipt(adapter, prompt, experts, decided, sampling, timings),
        )


def decide(
    dispatcher: Dispatcher,
    prompt: str,
    experts: Mapping[str, Expert],
    mode: str,
    routing: str = "hard",
    threshold: float = 0.0,
    allow_transfer: bool = False,
) -> Dispatched:
    """Pass one: from the prompt to a mixture.

    Experts that were made for other weights are passed over unless `allow_transfer`, since nobody
    has asked for them; the note says which.

    Raises:
        InputError: an unknown mode, "expert" without a classification expert, or nothing to choose.
    """
    if mode not in DISPATCH_MODES:
        raise InputError(f"dispatch is {mode!r}; expected {', '.join(DISPATCH_MODES)}.")
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; expected between 0 and 1.")
    if mode == "none":
        return Dispatched(Mixture(), "no dispatcher", "", None)
    usable = experts if allow_transfer else _without_transfers(dispatcher.adapter, experts)
    foreign = [name for name in experts if name not in usable]
    passed_over = f"passed over, as made for other weights: {', '.join(foreign)}" if foreign else ""
    expert = dispatcher_in(usable) if mode == "expert" else None
    if mode == "expert" and expert is None:
        why = f" ({passed_over})" if foreign else ""
        raise InputError(
            f"dispatch is 'expert', but no classification expert is loaded{why}: train one with "
            "`python -m t2ui train dispatch`, or choose dispatch prompt."
        )
    labels = expert.labels if expert else labels_of(dict(usable))
    if foreign and len(labels) < 2:
        raise InputError(
            f"Pass one has no expert of this model to choose ({passed_over}): give a mixture, or "
            "ask for a cross-model transfer (allow_transfer)."
        )
    found = dispatcher.classify(prompt, labels, expert)
    answering = {n: e for n, e in usable.items() if not e.is_dispatcher}
    mixture, note = route(found, answering, routing, threshold)
    who = "classification expert" if expert else "prompt dispatcher"
    if expert and dispatcher.adapter.is_transfer(expert):
        who = f"{who} (a cross-model transfer)"
    note = "; ".join(filter(None, [note, passed_over]))
    return Dispatched(mixture, f"{who}, {found.probabilities[found.label]:.2f}", note, found)


def transfers_in(adapter: Adapter, experts: Mapping[str, Expert], mixture: Mixture) -> list[Expert]:
    """The experts that a mixture uses and that were made for other weights than this model's."""
    used = [
        experts[name]
        for name, alpha in mixture.weights.items()
        if name in experts and (any(alpha) if isinstance(alpha, tuple) else alpha)
    ]
    return [expert for expert in used if adapter.is_transfer(expert)]


def _without_transfers(adapter: Adapter, experts: Mapping[str, Expert]) -> dict[str, Expert]:
    return {name: e for name, e in experts.items() if not adapter.is_transfer(e)}


def make_receipt(
    adapter: Adapter,
    prompt: str,
    experts: Mapping[str, Expert],
    decided: Dispatched,
    sampling: Sampling,
    timings: Mapping[str, float],
) -> dict[str, Any]:
    """Plain data that says what answered, and what `replay` needs to answer so again."""
    import torch
    import transformers

    found = decided.classification
    return {
        "model": model_name(adapter.model),
        "fingerprint": adapter.fingerprint,
        "modules": adapter.modules,
        "dtype": dtype_name(adapter.model),
        "device": adapter.model.device.type,
        "prompt": prompt,
        "label": found.label if found else None,
        "probabilities": found.probabilities if found else {},
        "set_by": decided.set_by,
        "mixture": {
            n: list(a) if isinstance(a, tuple) else a for n, a in decided.mixture.weights.items()
        },
        "normalise": decided.mixture.normalise,
        "experts": {n: experts[n].sha256 for n in decided.mixture.weights},
        "sampling": {**asdict(sampling), "stop": list(sampling.stop)},
        "timings": {key: round(value, 4) for key, value in timings.items()},
        "versions": {
            "t2ui": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def replay(model, tokenizer, receipt: Mapping[str, Any], experts: Mapping[str, Expert]):
    """Answer again as a receipt says.

    Token for token in float32 on the same kind of device and with the same versions; on another
    device, or where the receipt's answer was decoded in 16 bits beside others, up to rounding.

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
    weights = {n: tuple(a) if isinstance(a, list) else a for n, a in receipt["mixture"].items()}
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
        return two_pass_infer(
            model,
            tokenizer,
            receipt["prompt"],
            experts,
            mixture=Mixture(weights, receipt["normalise"]),
            sampling=Sampling(**settings),
            allow_transfer=True,
        )
