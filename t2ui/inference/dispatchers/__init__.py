"""The dispatchers of pass one, one file each: from a prompt to label probabilities.

To add one, write a class as `Dispatcher` below describes into a file here, and its line into
`catalogue.DISPATCHERS`: the command line, the page, HTTP and `evaluate` then offer it. How its
probabilities become a mixture (`dispatch.route`), which experts it sees and what the result says
of it is the plan's part (`inference.plan`).
"""

from collections.abc import Mapping
from typing import Protocol

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.catalogue import DISPATCHERS, chosen
from t2ui.inference.dispatch import Classification
from t2ui.svf.adapter import Adapter
from t2ui.svf.expert import Expert

Experts = Mapping[str, Expert]  # by name; those that a dispatcher may use


class Dispatcher(Protocol):
    """One dispatcher on one model. It may keep what it has prepared from call to call."""

    remedy: str  # what to do where it is not usable, as the end of a sentence

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None: ...

    def usable(self, experts: Experts) -> bool:
        """Whether it has what it needs among these experts, a trained classifier say."""

    def labels(self, experts: Experts) -> tuple[str, ...]:
        """The labels that it may find; `others`, which keeps the base model, may be one."""

    def classify(self, prompt: str, experts: Experts) -> Classification | None:
        """The prompt's label probabilities; None without a pass one.

        Raises:
            InputError: a prompt that cannot be read, or too few labels.
        """


class Dispatchers:
    """The dispatchers of one model by name, each made when it is first used, and kept."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Adapter
    ) -> None:
        self.model, self.tokenizer, self.adapter = model, tokenizer, adapter
        self._made: dict[str, Dispatcher] = {}

    def __getitem__(self, name: str) -> Dispatcher:
        """The dispatcher of a name.

        Raises:
            InputError: there is none; lists the names that there are.
        """
        if name not in self._made:
            made = chosen("dispatcher", name, DISPATCHERS).load()
            self._made[name] = made(self.model, self.tokenizer, self.adapter)
        return self._made[name]

    def usable(self, experts: Experts) -> tuple[str, ...]:
        """The names of those that these experts suffice for."""
        return tuple(name for name in DISPATCHERS if self[name].usable(experts))
