"""Prompt → pass one → mixture → pass two, on a model the caller holds (paper, section 3.2).

The model is left as it was, whatever is raised. Every answer carries a receipt that replays it.
"""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from t2ui import __version__
from t2ui.adapter import Adapter, adapt, attached
from t2ui.config import DISPATCH_MODES, Sampling, check_prompt
from t2ui.dispatch import Classification, Dispatcher, route
from t2ui.errors import InputError
from t2ui.expert import Expert
from t2ui.generate import Row, generate
from t2ui.library import dispatcher_in, labels_of
from t2ui.mixture import Mixture, mix
from t2ui.models import chat_ids, model_name
from t2ui.svd import same_model


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
        experts: by name; a classification expert among them serves `dispatch="expert"`.
        dispatch: "prompt", "expert" or "none"; by default "expert" where there is one.
        mixture: answer with this instead of pass one.
        routing, threshold: see `dispatch.route`.
        allow_transfer: use experts that were made for other weights of the same shapes.

    Raises:
        InputError: a bad prompt, setting or expert; one line says what to do.
    """
    check_prompt(prompt)
    with _adapted(model) as adapter:
        transfers = []
        for name, expert in experts.items():
            adapter.check(expert, allow_transfer)
            transfers += [name] if adapter.is_transfer(expert) else []
        started = time.perf_counter()
        if mixture is None:
            mode = dispatch or ("expert" if dispatcher_in(experts) else "prompt")
            decided = decide(
                Dispatcher(model, tokenizer, adapter), prompt, experts, mode, routing, threshold
            )
        elif dispatch not in (None, "none"):
            raise InputError("A mixture and a dispatcher were both given: choose one of them.")
        else:
            decided = Dispatched(mixture, "you", "", None)
        pass_one = time.perf_counter() - started
        sampling = sampling or Sampling()
        row = Row(0, chat_ids(tokenizer, prompt), mix(experts, decided.mixture), sampling)
        (completion,) = generate(model, tokenizer, [row], adapter)
        timings = {"pass_one": pass_one, "pass_two": time.perf_counter() - started - pass_one}
        used = [name for name in transfers if decided.mixture.weights.get(name)]
        note = "; ".join(
            [decided.note] * bool(decided.note) + [f"{n}: a cross-model transfer" for n in used]
        )
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
) -> Dispatched:
    """Pass one: from the prompt to a mixture.

    Raises:
        InputError: an unknown mode, or "expert" without a classification expert.
    """
    if mode not in DISPATCH_MODES:
        raise InputError(f"dispatch is {mode!r}; expected {', '.join(DISPATCH_MODES)}.")
    if not 0 <= threshold <= 1:
        raise InputError(f"threshold is {threshold}; expected between 0 and 1.")
    if mode == "none":
        return Dispatched(Mixture(), "no dispatcher", "", None)
    expert = dispatcher_in(experts) if mode == "expert" else None
    if mode == "expert" and expert is None:
        raise InputError(
            "dispatch is 'expert', but no classification expert is loaded: train one with "
            "`python -m t2ui train dispatch`, or choose dispatch prompt."
        )
    labels = expert.labels if expert else labels_of(dict(experts))
    found = dispatcher.classify(prompt, labels, expert)
    answering = {n: e for n, e in experts.items() if not e.is_dispatcher}
    mixture, note = route(found, answering, routing, threshold)
    who = "classification expert" if expert else "prompt dispatcher"
    return Dispatched(mixture, f"{who}, {found.probabilities[found.label]:.2f}", note, found)


def make_receipt(
    adapter: Adapter,
    prompt: str,
    experts: Mapping[str, Expert],
    decided: Dispatched,
    sampling: Sampling,
    timings: Mapping[str, float],
) -> dict[str, Any]:
    """Plain data that says what answered, and with `replay` gives the same tokens again."""
    import torch
    import transformers

    found = decided.classification
    return {
        "model": model_name(adapter.model),
        "fingerprint": adapter.fingerprint,
        "dtype": str(adapter.model.dtype).removeprefix("torch."),
        "device": adapter.model.device.type,
        "prompt": prompt,
        "label": found.label if found else None,
        "probabilities": found.probabilities if found else {},
        "set_by": decided.set_by,
        "mixture": {n: list(a) if isinstance(a, tuple) else a
                    for n, a in decided.mixture.weights.items()},
        "normalise": decided.mixture.normalise,
        "experts": {n: experts[n].sha256 for n in decided.mixture.weights},
        "sampling": {**asdict(sampling), "stop": list(sampling.stop)},
        "timings": {key: round(value, 4) for key, value in timings.items()},
        "versions": {"t2ui": __version__, "torch": torch.__version__,
                     "transformers": transformers.__version__},
    }  # fmt: skip


def replay(model, tokenizer, receipt: Mapping[str, Any], experts: Mapping[str, Expert]):
    """Answer again as a receipt says; the same tokens on the same model, device and versions.

    Raises:
        InputError: the model has other weights than the receipt's, or an expert is missing or has
            other scales.
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
    with _adapted(model) as adapter:
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


class _adapted:
    """The adapter that the model carries, or one for the time of the block."""

    def __init__(self, model):
        self.model, self.held = model, attached(model)

    def __enter__(self) -> Adapter:
        self.adapter = self.held or adapt(self.model)
        return self.adapter

    def __exit__(self, *error: object) -> None:
        if self.held is None:
            self.adapter.remove()
