"""What is measured side by side: each method is a name and a way to put itself on the model.

A method splits examples into parts that are answered by the same weights; most have one part, pass
one makes several. Whatever can be put on a model inside a `with` block can be a method: `fixed`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from t2ui.errors import InputError
from t2ui.inference.dispatch import Dispatcher
from t2ui.inference.two_pass import decide
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert, policy_temperature
from t2ui.svf.library import dispatcher_in, labels_of
from t2ui.svf.mixture import Mixture, mix
from t2ui.tasks.base import Example
from t2ui.training.lora import lora_on, training_record

Context = Callable[[], AbstractContextManager]
Classify = Callable[[str], Mapping[str, float]]  # the labels' probabilities for a prompt
Part = tuple[list[int], Context]  # places in the examples, and what is on the model for them


@dataclass(frozen=True)
class Method:
    """One column of the comparison.

    `digest` tells two versions of a method apart (an expert that was trained further), so that
    results of the one are never taken for the other's. `classifier` is for methods that can be
    measured on dispatch: a block inside which prompts get pass one's probabilities of `labels`.
    `training` is the record of how it was trained, where it was.
    """

    name: str
    digest: str
    parts: Callable[[Sequence[Example]], Iterable[Part]]
    classifier: Callable[[], AbstractContextManager[Classify]] | None = None
    labels: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    is_lora: bool = False


def fixed(name: str, digest: str, context: Context) -> Method:
    """The same weights for every prompt."""
    return Method(name, digest, lambda examples: [(list(range(len(examples))), context)])


def base(adapter: Adapter, dispatcher: Dispatcher, labels: Sequence[str]) -> Method:
    """The base model; on dispatch, asked by the prompt alone."""

    def classify(prompt: str) -> Mapping[str, float]:
        return dispatcher.classify(prompt, labels, None).probabilities

    return replace(
        fixed("base", "", adapter.disabled),
        classifier=lambda: nullcontext(classify),
        labels=tuple(labels),
    )


def of_expert(adapter: Adapter, dispatcher: Dispatcher, expert: Expert) -> Method:
    """One expert for every prompt; a classification expert can be measured on dispatch too."""
    adapter.check(expert)
    method = replace(
        fixed(expert.name, expert.sha256, lambda: adapter.applied(expert.scales, "merged")),
        training=expert.training and {"trained_parameters": expert.parameters, **expert.training},
    )
    if not expert.is_dispatcher:
        return method

    def classify(prompt: str) -> Mapping[str, float]:
        return dispatcher.classify(prompt, expert.labels, expert).probabilities

    return replace(method, classifier=lambda: nullcontext(classify), labels=tuple(expert.labels))


def of_mixture(adapter: Adapter, experts: Mapping[str, Expert], mixture: Mixture) -> Method:
    """One mixture for every prompt."""
    scales = mix(experts, mixture)  # refuses unknown names
    used = {name: experts[name] for name in mixture.weights}
    for expert in used.values():
        adapter.check(expert)
    weights = "+".join(f"{name}={_shown(alpha)}" for name, alpha in mixture.weights.items())
    exact = json.dumps([digest_of(used), dict(mixture.weights), mixture.normalise])
    return fixed(
        f"mix:{weights}{' normalised' if mixture.normalise else ''}",
        hashlib.sha256(exact.encode()).hexdigest(),
        lambda: adapter.applied(scales, "merged"),
    )


def _shown(alpha: float | tuple[float, ...]) -> str:
    if isinstance(alpha, tuple):
        return f"{sum(alpha) / len(alpha):.3g} by layer"
    return f"{alpha:g}"


def of_lora(adapter: Adapter, dispatcher: Dispatcher, folder: Path) -> Method:
    """A LoRA as peft writes it, on the base model, for every prompt; one that was trained on
    dispatch can be measured there too."""
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise InputError(f"{folder} holds no adapter_model.safetensors: give a LoRA's folder.")
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    name = f"lora:{folder.resolve().parent.name}"
    method = fixed(name, digest, lambda: lora_on(adapter.model, folder))
    method = replace(method, training=training_record(folder), is_lora=True)
    if method.training.get("task") != "dispatch":
        return method
    labels = tuple(method.training["labels"])

    @contextmanager
    def classifier() -> Iterator[Classify]:
        # Its own dispatcher: what the other keeps of the instruction was read without the LoRA.
        own = Dispatcher(dispatcher.model, dispatcher.tokenizer, adapter)

        def classify(prompt: str) -> Mapping[str, float]:
            raw = own.classify(prompt, labels, None).raw  # as an expert's: training took the bias
            return at_temperature(raw, policy_temperature(method.training))

        with lora_on(adapter.model, folder):
            yield classify

    return replace(method, classifier=classifier, labels=labels)


def of_dispatch(
    adapter: Adapter, dispatcher: Dispatcher, experts: Mapping[str, Expert], mode: str
) -> Method:
    """Two passes: `mode` "prompt" or "expert" picks each prompt's expert (paper, section 3.2).

    Raises:
        InputError: "expert" without a classification expert.
    """
    experts = {name: e for name, e in experts.items() if not adapter.is_transfer(e)}  # as `decide`
    classifier = None
    if mode == "expert":
        classifier = dispatcher_in(experts)
        if classifier is None:
            raise InputError(
                "Method 'expert' needs a classification expert in the experts folder; there is "
                "none: train one with `python -m t2ui train dispatch`, or use method 'prompt'."
            )
    labels = classifier.labels if classifier else labels_of(experts)

    def classify(prompt: str) -> Mapping[str, float]:
        return dispatcher.classify(prompt, labels, classifier).probabilities

    def parts(examples: Sequence[Example]) -> list[Part]:
        places: dict[tuple, list[int]] = {}
        mixtures: dict[tuple, Mixture] = {}
        for place, example in enumerate(examples):
            mixture = decide(dispatcher, example.prompt, experts, mode).mixture
            key = tuple(mixture.weights.items())
            mixtures[key] = mixture
            places.setdefault(key, []).append(place)
        return [(places[key], _applied(adapter, experts, mixtures[key])) for key in places]

    return Method(mode, digest_of(experts), parts, lambda: nullcontext(classify), tuple(labels))


def at_temperature(probabilities: Mapping[str, float], temperature: float) -> dict[str, float]:
    """The same logits divided by a temperature: p^(1/T), normalised."""
    powers = {label: p ** (1 / temperature) for label, p in probabilities.items()}
    total = sum(powers.values())
    return {label: power / total for label, power in powers.items()}


def digest_of(experts: Mapping[str, Expert]) -> str:
    """One digest of several experts, by name and scales."""
    named = sorted(f"{name} {expert.sha256}" for name, expert in experts.items())
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _applied(adapter: Adapter, experts: Mapping[str, Expert], mixture: Mixture) -> Context:
    return lambda: adapter.applied(mix(experts, mixture), "merged")
