"""Pass one with a classification expert: an expert trained to say the label (paper, 3.2)."""

from dataclasses import replace

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.inference.dispatch import Classification, LabelReader
from t2ui.inference.dispatchers import Experts
from t2ui.svf.adapter import Adapter
from t2ui.svf.library import dispatcher_in


class ExpertDispatcher:
    """The classification expert, the first by name; its scales are on during this call only."""

    remedy = "train one with `python -m t2ui train dispatch`, or choose dispatch prompt"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None:
        self._reader = LabelReader(model, tokenizer, adapter)

    def usable(self, experts: Experts) -> bool:
        return dispatcher_in(experts) is not None

    def labels(self, experts: Experts) -> tuple[str, ...]:
        expert = dispatcher_in(experts)
        return tuple(expert.labels) if expert else ()

    def classify(self, prompt: str, experts: Experts) -> Classification:
        expert = dispatcher_in(experts)
        found = self._reader.classify(prompt, self.labels(experts), expert)
        if expert and self._reader.adapter.is_transfer(expert):
            return replace(found, remark="a cross-model transfer")
        return found
