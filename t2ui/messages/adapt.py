"""Few-shot adaptation: a search and its estimate."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from t2ui.checks import check_prompt
from t2ui.config import FewShotConfig
from t2ui.errors import InputError

# --- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Adapt:
    """Search a mixture on a few examples (few-shot adaptation, paper 3.2).

    It runs between other people's answers; a cancel ends it with the best so far. Events:
    Queued*, SearchBegan, Generation*, Adapted, Done.
    """

    examples: tuple[tuple[str, str], ...]  # (prompt, right answer)
    config: FewShotConfig = field(default_factory=FewShotConfig)
    session: str = ""  # whose it is: its own experts are searched too

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple((p, a) for p, a in self.examples))
        check_examples(self.examples)
        if self.config.per_layer:
            raise InputError(
                "per_layer is set, and the app shows one coefficient per expert: search per layer "
                "with `python -m t2ui adapt --per-layer`."
            )


@dataclass(frozen=True)
class EstimateAdapt:
    """Ask how long a search would take and how its examples are split. Event: SearchEstimate."""

    adapt: Adapt
    session: str = ""


def check_examples(examples: Sequence[tuple[str, str]]) -> None:
    """Refuse examples that nothing can be found or measured on.

    Raises:
        InputError: there are none, or one lacks its prompt or its right answer.
    """
    if not examples:
        raise InputError("There are no examples: give prompts with their right answers.")
    for number, (prompt, right) in enumerate(examples, start=1):
        if not prompt.strip():
            raise InputError(f"Example {number} has no prompt: type one, or remove the row.")
        check_prompt(prompt)
        if not right.strip():
            raise InputError(f"Example {number} has no right answer: type one.")


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SearchEstimate:
    """What a search would cost if it ran to its last generation."""

    tokens: int  # read or written
    seconds: float  # at the rate that this worker has measured
    held_out: tuple[int, ...]  # examples that only the report uses, numbered from 0
    report: str  # in words: "held-out 3 of 10 examples"


@dataclass(frozen=True)
class SearchBegan:
    """The search has started on the model."""

    experts: tuple[str, ...]  # whose α are searched, in the order of `Generation.population`
    held_out: tuple[int, ...]
    generations: int  # at most


@dataclass(frozen=True)
class Adapted:
    """The result of a search: its mixture, and its effect on the held-out examples."""

    mixture: dict[str, float]
    normalise: bool
    set_by: str  # "CEM, generation 6"
    report: str  # which examples `before` and `after` are of, in words
    before: float | None  # the base model's score, None where no example was held out
    after: float | None
    right_before: int | None  # of n, None where answers were not judged
    right_after: int | None
    n: int
    tokens: int
    forward_passes: int
    seconds: float
    file: str  # the mixture as a file's text, JSON
