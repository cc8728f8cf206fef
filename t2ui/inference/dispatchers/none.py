"""No pass one: a given mixture answers, or the base model where none is given."""

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.inference.dispatchers import Experts
from t2ui.svf.adapter import Adapter


class NoDispatcher:
    """Classifies nothing."""

    remedy = ""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None:
        pass

    def usable(self, experts: Experts) -> bool:
        return True

    def labels(self, experts: Experts) -> tuple[str, ...]:
        return ()

    def classify(self, prompt: str, experts: Experts) -> None:
        return None
