"""Pass one by the router where some kind is likelier than not, else by the classification expert.

The router tells many kinds apart, but only those that it has examples of, worded much as these are;
the classification expert knows few kinds, however somebody words them.
"""

from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.config import OTHERS
from t2ui.inference.dispatch import Classification
from t2ui.inference.dispatchers import Experts
from t2ui.inference.dispatchers.expert import ExpertDispatcher
from t2ui.inference.dispatchers.router import RouterDispatcher
from t2ui.svf.adapter import Adapter

SURE = 0.5  # of a kind: what the router takes wrongly, it is mostly less sure of


class RouterThenExpert:
    """Asks the classification expert only where no kind is likelier than not to the router."""

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
        sure = first.label != OTHERS and first.probabilities[first.label] >= SURE
        found = first if sure else self._expert.classify(prompt, experts)
        every = dict.fromkeys(self.labels(experts), 0.0) | found.probabilities
        seconds = first.seconds + (0.0 if sure else found.seconds)
        return replace(found, probabilities=every, raw=every, seconds=seconds)
