"""Everything that is chosen by its name, one line each: where it is, and what people call it.

Plain data, so that the page and the command line can offer the names without importing what they
stand for; `Entry.load` imports it when it is used. To add one, write its file and its line here
(CONTRIBUTING.md says what each kind of file has to hold).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

from t2ui.errors import InputError, quoted


def at_place(place: str) -> Any:
    """What stands at "package.module:name"."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


@dataclass(frozen=True)
class Entry:
    """One thing that can be chosen by its name."""

    place: str  # "package.module:name", imported on first use
    words: str  # what the page and the help call it
    hint: str = ""  # one sentence on it, where the page has room for no more

    def load(self) -> Any:
        """The thing itself."""
        return at_place(self.place)


AnyEntry = TypeVar("AnyEntry", bound=Entry)


def chosen(what: str, name: str, entries: Mapping[str, AnyEntry]) -> AnyEntry:
    """The entry of a name. One whose own name ends in ":" is a family: "rg:" stands for every
    "rg:NAME", and what it loads is told the whole name.

    Raises:
        InputError: there is none; lists the names that there are.
    """
    family, colon, member = name.partition(":")
    key = f"{family}:" if colon and member else name
    if key not in entries or (key.endswith(":") and not member):
        raise InputError(f"There is no {what} {quoted(name)}; there are: {names_of(entries)}.")
    return entries[key]


def names_of(entries: Mapping[str, Entry]) -> str:
    """The names that there are, for people: "arith, gsm8k, rg:NAME"."""
    return ", ".join(f"{name}NAME" if name.endswith(":") else name for name in entries)


@dataclass(frozen=True)
class TaskEntry(Entry):
    """A task: what it loads takes (name, tokenizer, data folder) and, by keyword, its options."""

    # Which of the rewards in t2ui/tasks/own.py grades an answer as the task does, where the right
    # answer's text is all that it takes.
    reward: str = ""
    reads_data: bool = True  # from a folder; False: it makes its rows
    # Where there is more to a name than this table knows: what refuses it before a model is loaded.
    check: str = ""  # "package.module:name" of a function of the task's whole name


# What is trained and measured. See t2ui/tasks/__init__.py.
TASKS: dict[str, TaskEntry] = {
    "arc_easy": TaskEntry("t2ui.tasks.choice:load", "ARC-Easy, multiple choice"),
    "arc_challenge": TaskEntry("t2ui.tasks.choice:load", "ARC-Challenge, multiple choice"),
    "strategyqa": TaskEntry("t2ui.tasks.choice:load_yes_no", "StrategyQA, yes or no"),
    "gsm8k": TaskEntry("t2ui.tasks.word_problems:load", "GSM8K, word problems", reward="number"),
    "arith": TaskEntry(
        "t2ui.tasks.word_problems:load", "arithmetic word problems", reward="number"
    ),
    "mbpp": TaskEntry("t2ui.tasks.code:load", "MBPP, Python functions"),
    "humaneval": TaskEntry("t2ui.tasks.code:load", "HumanEval, Python functions"),
    "dispatch": TaskEntry("t2ui.tasks.dispatch_rows:load", "which kind a prompt is, for pass one"),
    "jsonl": TaskEntry("t2ui.tasks.own:load", "your own JSON Lines"),
    "rg:": TaskEntry(
        "t2ui.tasks.generated:load",
        "rows without end from a generator of reasoning_gym",
        reads_data=False,
        check="t2ui.tasks.generated:check",
    ),
}


@dataclass(frozen=True)
class ObjectiveEntry(Entry):
    """A training objective, see t2ui/training/objectives/base.py."""

    tempers_answers: bool = False  # the temperature is that of the policy over closed answers


# What a training minimises; "auto" is the first that the task can be trained by. See
# t2ui/training/objectives/base.py.
TRAIN_OBJECTIVES: dict[str, ObjectiveEntry] = {
    "exact": ObjectiveEntry(
        "t2ui.training.objectives.exact:Exact", "closed answers", tempers_answers=True
    ),
    "sampled": ObjectiveEntry("t2ui.training.objectives.sampled:Sampled", "open answers"),
    "next_token": ObjectiveEntry(
        "t2ui.training.objectives.next_token:NextToken", "right answers, token by token"
    ),
}

# Of the objective `sampled`: what is taken off the rewards.
BASELINES: dict[str, Entry] = {
    "none": Entry("t2ui.training.objectives.sampled:without_baseline", "nothing (paper)"),
    "mean": Entry("t2ui.training.objectives.sampled:less_mean", "the step's mean"),
    "leave_one_out": Entry(
        "t2ui.training.objectives.sampled:less_leave_one_out", "the prompt's other rollouts"
    ),
}


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

# Pass one: from a prompt to label probabilities. See t2ui/inference/dispatchers/__init__.py.
NO_DISPATCH = "none"  # the one without a pass one: a given mixture answers, or the base model
CONTROLS = {  # of an expert: what is like it and should do nothing of what it does
    "shuffled": Entry(
        "t2ui.inference.lineup:shuffled", "shuffled z", "The same z, shuffled within each matrix."
    ),
    "random": Entry(
        "t2ui.inference.lineup:random", "random z", "Random z, as far from 1 as the expert's."
    ),
    "examples": Entry(
        "t2ui.inference.lineup:with_examples",
        "examples in the prompt",
        "The base model, with examples and their right answers before the prompt.",
    ),
}

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
    "router": Entry(
        "t2ui.inference.dispatchers.router:RouterDispatcher",
        "router",
        "Pass one by likeness: the model's state over the prompt, beside those of the experts' "
        "examples.",
    ),
    "both": Entry(
        "t2ui.inference.dispatchers.both:RouterThenExpert",
        "router, then classification expert",
        "Pass one by the router where some kind is likelier than not, else by the classification "
        "expert.",
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
    "components": Entry("t2ui.ui.api.components:ROUTE", "single components, named and tested"),
    "likeness": Entry("t2ui.ui.api.likeness:ROUTE", "experts against each other"),
}
