"""Pass one by prompt: the base model itself is asked for the label (paper, section 3.2)."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.inference.dispatch import Classification, LabelReader
from t2ui.inference.dispatchers import Experts
from t2ui.svf.adapter import Adapter
from t2ui.svf.library import labels_of


class PromptDispatcher:
    """Needs no training: every expert's labels are options, and the base model compares them."""

    remedy = "choose another dispatcher"

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None:
        self._reader = LabelReader(model, tokenizer, adapter)

    def usable(self, experts: Experts) -> bool:
        return True

    def labels(self, experts: Experts) -> tuple[str, ...]:
        return labels_of(experts)

    def classify(self, prompt: str, experts: Experts) -> Classification:
        return self._reader.classify(prompt, self.labels(experts))
