"""A dispatcher that a test adds: one file, and one line in `catalogue.DISPATCHERS`."""

from t2ui.catalogue import Entry
from t2ui.inference.dispatch import Classification

ENTRY = Entry("coin_dispatcher:CoinDispatcher", "tossed coin", "Pass one by a coin.")


class CoinDispatcher:
    """Heads is the first expert; tails, for prompts with a question mark, is none of them."""

    remedy = "add an expert"

    def __init__(self, model, tokenizer, adapter) -> None:
        self.adapter = adapter

    def usable(self, experts) -> bool:
        return bool(experts)

    def labels(self, experts) -> tuple[str, ...]:
        return (*sorted(experts), "others")

    def classify(self, prompt, experts) -> Classification:
        first, *rest = self.labels(experts)
        p = dict.fromkeys(rest, 0.0) | {first: 0.9, "others": 0.1}
        if "?" in prompt:
            p |= {first: 0.2, "others": 0.8}
        return Classification(max(p, key=p.__getitem__), p, p, "", 0.0)
