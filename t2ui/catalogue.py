"""Everything that is chosen by its name, one line each: where it is, and what people call it.

Plain data, so that the page and the command line can offer the names without importing what they
stand for; `Entry.load` imports it when it is used. To add one, write its file and its line here
(CONTRIBUTING.md says what each kind of file has to hold).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from t2ui.errors import InputError


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen by its name."""

    place: str  # "package.module:name", imported on first use
    words: str  # what the page and the help call it
    hint: str = ""  # one sentence on it, where the page has room for no more

    def load(self) -> Any:
        """The thing itself."""
        module, _, name = self.place.partition(":")
        return getattr(import_module(module), name)


@dataclass(frozen=True)
class SearchMethod(Entry):
    """A way to search for coefficients α; `place` is a class, see `few_shot.optimizers.base`."""

    hint: str  # a sentence for people who choose
    needs_gradient: bool = False  # of the score: only a likelihood has one


SEARCH_METHODS: dict[str, SearchMethod] = {
    "cem": SearchMethod(
        "t2ui.few_shot.optimizers.cem:CEM", "CEM", "The paper's search (cross-entropy method)."
    ),
    "cma": SearchMethod(
        "t2ui.few_shot.optimizers.cma:CMA",
        "CMA-ES",
        "Also learns how coefficients go together; needs the package cma.",
    ),
    "random": SearchMethod(
        "t2ui.few_shot.optimizers.random:RandomSearch",
        "random search",
        "Uniform draws: what the others have to beat.",
    ),
    "gradient": SearchMethod(
        "t2ui.few_shot.optimizers.gradient:GradientAscent",
        "gradient",
        "One backward pass per step; for the likelihood only.",
        needs_gradient=True,
    ),
}


def chosen(what: str, name: str, entries: Mapping[str, Entry]) -> Entry:
    """The entry of a name.

    Raises:
        InputError: there is none; lists the names that there are.
    """
    if name not in entries:
        raise InputError(f"There is no {what} {name!r}; there are: {', '.join(entries)}.")
    return entries[name]


# Pass one: from a prompt to label probabilities. See t2ui/inference/dispatchers/__init__.py.
NO_DISPATCH = "none"  # the one without a pass one: a given mixture answers, or the base model
DISPATCHERS = {
    "prompt": Entry(
        "t2ui.inference.dispatchers.prompt:PromptDispatcher",
        "prompt dispatcher",
        "Pass one by prompt: the model itself is asked which kind the prompt is.",
    ),
    "expert": Entry(
        "t2ui.inference.dispatchers.expert:ExpertDispatcher",
        "classification expert",
        "Pass one with the expert that was trained to classify prompts.",
    ),
    NO_DISPATCH: Entry(
        "t2ui.inference.dispatchers.none:NoDispatcher",
        "no dispatcher",
        "No pass one: the sliders decide.",
    ),
}

# What scripts call by name over HTTP. See t2ui/ui/api/__init__.py.
ROUTES = {
    "ask": Entry("t2ui.ui.api.ask:ROUTE", "an answer, beside the base model's"),
    "experts": Entry("t2ui.ui.api.experts:ROUTE", "the experts that there are"),
}
