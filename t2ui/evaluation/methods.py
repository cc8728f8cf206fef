"""What is measured side by side: a method is a name and a way to set a model.

A method divides examples into parts that are answered with the model set in the same way: most
methods have one part, two passes have one per mixture. Anything that can be set on a model inside
a `with` block can be a method: see `fixed`.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from t2ui.catalogue import DISPATCHERS
from t2ui.config import OTHERS, AnswerSettings
from t2ui.errors import InputError
from t2ui.inference.dispatch import LabelReader
from t2ui.inference.dispatchers import Dispatchers
from t2ui.inference.plan import make_plan, usable_experts
from t2ui.models.chat import answer_tail
from t2ui.models.running import BaseReading
from t2ui.svf.adapter import Adapter, Scales
from t2ui.svf.expert import Expert, policy_temperature, tensors_sha256
from t2ui.svf.mixture import Mixture, mix, scope_of
from t2ui.tasks.base import Example
from t2ui.training.lora import WEIGHTS, check_lora, lora_on, training_record

# The block in which a method answers. It gives how prompts are read: None, all as the model is set;
# in scope "answer" by the base model, up to their tails.
Context = Callable[[], AbstractContextManager[BaseReading | None]]
Classify = Callable[[str], Mapping[str, float]]  # the labels' probabilities for a prompt
Part = tuple[list[int], Context]  # indices of examples, and the block to answer them in


@dataclass(frozen=True)
class Applied:
    """The block of a method that is one z for every prompt: plain data, which other machines can
    answer under as well."""

    adapter: Adapter
    scales: Scales  # {}: the base model
    tail: int | None = None  # in scope "answer"

    @contextmanager
    def __call__(self) -> Iterator[BaseReading | None]:
        with self.adapter.applied(self.scales, "merged"):
            yield None if self.tail is None else BaseReading(self.tail, self.adapter.disabled)


@dataclass(frozen=True)
class Method:
    """One column of the comparison.

    `digest` tells two versions of a method apart (an expert that was trained further), so that
    results of the one are never taken for the other's. `classifier` is for methods that can be
    measured on dispatch: a block inside which prompts get pass one's probabilities of `labels`;
    `classified_by` says in words by what.
    `training` is the record of how it was trained, where it was.
    """

    name: str
    digest: str
    parts: Callable[[Sequence[Example]], Iterable[Part]]
    classifier: Callable[[], AbstractContextManager[Classify]] | None = None
    labels: tuple[str, ...] = ()
    classified_by: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)
    is_lora: bool = False


def fixed(name: str, digest: str, context: Context) -> Method:
    """A method that answers every prompt in the same way."""
    return Method(name, digest, lambda examples: [(list(range(len(examples))), context)])


def base(adapter: Adapter, reader: LabelReader, labels: Sequence[str]) -> Method:
    """The base model; on dispatch, asked by the prompt alone."""

    def classify(prompt: str) -> Mapping[str, float]:
        return reader.classify(prompt, labels, None).probabilities

    return replace(
        fixed("base", "", Applied(adapter, {})),
        classifier=lambda: nullcontext(classify),
        labels=tuple(labels),
        classified_by="base model by prompt",
    )


def of_expert(adapter: Adapter, reader: LabelReader, expert: Expert, scope: str = "") -> Method:
    """One expert for every prompt; a classification expert can be measured on dispatch too.

    Args:
        scope: another than the expert was trained for, if any.
    """
    adapter.check(expert)
    scope = scope or expert.scope
    name = expert.name if scope == expert.scope else f"{expert.name} in scope {scope}"
    context = _applied(adapter, reader.tokenizer, expert.scales, scope)
    method = replace(
        fixed(name, _in_scope(expert.sha256, scope), context),
        training=expert.training and {"trained_parameters": expert.parameters, **expert.training},
    )
    if not expert.is_dispatcher:
        return method

    def classify(prompt: str) -> Mapping[str, float]:
        return reader.classify(prompt, expert.labels, expert).probabilities

    return replace(
        method,
        classifier=lambda: nullcontext(classify),
        labels=tuple(expert.labels),
        classified_by=DISPATCHERS["expert"].words,
    )


def of_mixture(
    adapter: Adapter, reader: LabelReader, experts: Mapping[str, Expert], mixture: Mixture
) -> Method:
    """One mixture for every prompt."""
    scales = mix(experts, mixture)  # refuses unknown names
    used = {name: experts[name] for name in mixture.weights}
    for expert in used.values():
        adapter.check(expert)
    weights = "+".join(f"{name}={_shown(alpha)}" for name, alpha in mixture.weights.items())
    exact = json.dumps([digest_of(used), dict(mixture.weights), mixture.normalise])
    scope = scope_of(mixture, experts)
    said = " normalised" if mixture.normalise else ""
    own = scope_of(replace(mixture, scope=""), experts)
    said += f" in scope {scope}" if scope != own else ""
    return fixed(
        f"mix:{weights}{said}",
        _in_scope(hashlib.sha256(exact.encode()).hexdigest(), scope),
        _applied(adapter, reader.tokenizer, scales, scope),
    )


def _in_scope(digest: str, scope: str) -> str:
    """Results in one scope are never taken for those in the other."""
    return digest if scope == "all" else f"{digest} {scope}"


def _shown(alpha: float | tuple[float, ...]) -> str:
    if isinstance(alpha, tuple):
        return f"{sum(alpha) / len(alpha):.3g} by layer"
    return f"{alpha:g}"


def of_lora(adapter: Adapter, reader: LabelReader, folder: Path) -> Method:
    """A LoRA as peft writes it, on the base model, for every prompt; one that was trained on
    dispatch can be measured there too."""
    check_lora(folder)
    with lora_on(adapter.model, folder):  # of this model, or refused before any row is answered
        digest = hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest()
    name = f"lora:{folder.resolve().parent.name}"
    method = fixed(name, digest, lambda: lora_on(adapter.model, folder))
    method = replace(method, training=training_record(folder), is_lora=True)
    if method.training.get("task") != "dispatch":
        return method
    labels = tuple(method.training["labels"])

    @contextmanager
    def classifier() -> Iterator[Classify]:
        # Its own reader: what the other keeps of the instruction was read without the LoRA.
        own = LabelReader(reader.model, reader.tokenizer, adapter)

        def classify(prompt: str) -> Mapping[str, float]:
            raw = own.classify(prompt, labels, None).raw  # as an expert's: training took the bias
            return at_temperature(raw, policy_temperature(method.training))

        with lora_on(adapter.model, folder):
            yield classify

    return replace(method, classifier=classifier, labels=labels, classified_by="LoRA")


def of_dispatch(
    adapter: Adapter,
    reader: LabelReader,
    experts: Mapping[str, Expert],
    name: str,
    scope: str = "",
) -> Method:
    """Two passes: the dispatcher of this name picks each prompt's expert (paper, section 3.2).

    Args:
        scope: another than the picked expert was trained for, if any.

    Raises:
        InputError: there is no such dispatcher, or these experts do not suffice for it.
    """
    dispatchers = Dispatchers(reader.model, reader.tokenizer, adapter)
    dispatcher = dispatchers[name]
    experts = usable_experts(adapter, experts, allow_transfer=False)
    if not dispatcher.usable(experts):
        raise InputError(
            f"Method {name!r} ({DISPATCHERS[name].words}) needs an expert that is not in the "
            f"experts folder: {dispatcher.remedy}."
        )
    settings = AnswerSettings(dispatch=name, scope=scope)

    def classify(prompt: str) -> Mapping[str, float]:
        found = dispatcher.classify(prompt, experts)
        return found.probabilities if found else {OTHERS: 1.0}

    def parts(examples: Sequence[Example]) -> list[Part]:
        places: dict[tuple, list[int]] = {}
        contexts: dict[tuple, Context] = {}
        for place, example in enumerate(examples):
            plan = make_plan(dispatchers, example.prompt, experts, settings)
            key = tuple(plan.mixture.weights.items())
            contexts[key] = _applied(adapter, reader.tokenizer, plan.scales, plan.scope)
            places.setdefault(key, []).append(place)
        return [(places[key], contexts[key]) for key in places]

    return Method(
        f"{name} in scope {scope}" if scope else name,
        " ".join(filter(None, (digest_of(experts), _heard(experts), scope))),
        parts,
        lambda: nullcontext(classify),
        dispatcher.labels(experts),
        DISPATCHERS[name].words,
    )


def at_temperature(probabilities: Mapping[str, float], temperature: float) -> dict[str, float]:
    """The same logits divided by a temperature: p^(1/T), normalised."""
    powers = {label: p ** (1 / temperature) for label, p in probabilities.items()}
    total = sum(powers.values())
    return {label: power / total for label, power in powers.items()}


def digest_of(experts: Mapping[str, Expert]) -> str:
    """One digest of several experts, by name and scales."""
    named = sorted(f"{name} {expert.sha256}" for name, expert in experts.items())
    return hashlib.sha256("\n".join(named).encode()).hexdigest()


def _heard(experts: Mapping[str, Expert]) -> str:
    """A digest of what pass one goes by beside the scales."""
    facts = [
        (name, e.labels, e.example_groups, tensors_sha256({"": e.examples}))
        for name, e in sorted(experts.items())
        if e.examples is not None
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest() if facts else ""


def _applied(
    adapter: Adapter, tokenizer: PreTrainedTokenizerBase, scales: Scales, scope: str
) -> Applied:
    return Applied(adapter, scales, answer_tail(tokenizer) if scope == "answer" else None)
