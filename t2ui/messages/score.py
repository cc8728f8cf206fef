"""Mixtures that answer the same questions: how many answers of each are right."""

from collections.abc import Mapping
from dataclasses import dataclass

from t2ui.checks import Alpha, check_mixture, check_range
from t2ui.errors import InputError
from t2ui.messages.adapt import check_examples

MOST_MIXTURES = 500  # of one request


@dataclass(frozen=True)
class ScoreMixtures:
    """Let mixtures answer questions, greedily, and judge the answers; the best entry is tested
    against each rival.

    It runs between other people's answers, as a search does, and before one. Events: Queued*,
    ScoredSoFar*, Decision, Done; a cancel ends it without a Decision.
    """

    examples: tuple[tuple[str, str], ...]  # (prompt, right answer)
    entries: tuple[Mapping[str, Alpha], ...]  # {}: the base model
    rivals: tuple[Mapping[str, Alpha], ...] = ()
    max_new_tokens: int = 64
    session: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "examples", tuple((p, a) for p, a in self.examples))
        check_examples(self.examples)
        check_range("max_new_tokens", self.max_new_tokens, 1, 4096)
        for what in ("entries", "rivals"):
            checked = tuple(check_mixture(one) for one in getattr(self, what))
            object.__setattr__(self, what, checked)
        if not 1 <= len(self.mixtures) <= MOST_MIXTURES:
            raise InputError(
                f"There are {len(self.mixtures)} mixtures to score; expected 1 to {MOST_MIXTURES}."
            )

    @property
    def mixtures(self) -> tuple[Mapping[str, Alpha], ...]:
        """All that answer."""
        return (*self.entries, *self.rivals)


@dataclass(frozen=True)
class ScoredSoFar:
    """So many of the mixtures have answered all questions."""

    done: int
    of: int
