"""Pass one by the router, and by the classification expert where the router knows no kind.

The router tells many kinds apart, but only those that it has examples of, worded as these are; the
classification expert knows few kinds, however somebody words them. So what the router calls
`others` is divided by the classification expert: P(k) = r(k) + r(others) · c(k), where r and c are
the probabilities that the two find.
"""

from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.config import OTHERS
from t2ui.inference.dispatch import Classification
from t2ui.inference.dispatchers import Experts
from t2ui.inference.dispatchers.expert import ExpertDispatcher
from t2ui.inference.dispatchers.router import RouterDispatcher
from t2ui.svf.adapter import Adapter


class RouterThenExpert:
    """Asks the classification expert only where the router finds `others` likeliest."""

    remedy = "it takes a classification expert, and an expert with examples"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None:
        self._router = RouterDispatcher(model, tokenizer, adapter)
        self._expert = ExpertDispatcher(model, tokenizer, adapter)

    def usable(self, experts: Experts) -> bool:
        return self._router.usable(experts) and self._expert.usable(experts)

    def labels(self, experts: Experts) -> tuple[str, ...]:
        found = (*self._router.labels(experts), *self._expert.labels(experts))
        return (*dict.fromkeys(label for label in found if label != OTHERS), OTHERS)

    def classify(self, prompt: str, experts: Experts) -> Classification:
        first = self._router.classify(prompt, experts)
        found = {**dict.fromkeys(self.labels(experts), 0.0), **first.probabilities}
        if first.label != OTHERS:
            return replace(first, probabilities=found, raw=found)
        second = self._expert.classify(prompt, experts)
        refused, found[OTHERS] = found[OTHERS], 0.0
        for label, probability in second.probabilities.items():
            found[label] += refused * probability
        return replace(
            second,
            label=max(found, key=found.__getitem__),
            probabilities=found,
            raw=found,
            seconds=first.seconds + second.seconds,
        )
