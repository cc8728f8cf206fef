"""What every search method has in common: ask for members, tell their scores. Higher is better.

`ask` gives members (points in a box), `tell` takes their scores. Methods know no models and no
experts. To add one, write its class in a file here and its line in
`t2ui.catalogue.SEARCH_METHODS`.
"""

from typing import Protocol

import numpy as np

from t2ui.catalogue import SEARCH_METHODS
from t2ui.config import FewShotConfig


class Search(Protocol):
    """One search. D is the number of coefficients that are searched.

    Made by `method(start, config, anchors)`: `start` is (K,) or (K, layers), D numbers in all;
    `anchors` (A, D) or None are members that the first generation holds before all others.
    """

    @property
    def record(self) -> "Record":
        """The best member so far, and how many generations were told."""

    @property
    def mean(self) -> np.ndarray:  # (D,)
        """Of the distribution that the next members come from."""

    @property
    def spread(self) -> np.ndarray:  # (D,)
        """Its standard deviation."""

    @property
    def converged(self) -> bool:
        """Whether another generation would find nothing new."""

    def winners(self, members: int) -> int | None:
        """How many of the best of so many members `tell` looks at; None: at all of them."""

    def ask(self) -> np.ndarray:
        """The next generation, (members, D). The first may have more members than the others.

        A method that needs the gradient asks for one member after the first generation.
        """

    def tell(self, scores: np.ndarray, gradient: np.ndarray | None = None) -> None:
        """Scores of the members that `ask` gave last.

        Args:
            scores: (members,); NaN counts as the worst.
            gradient: (D,) of the one member's score; given from the second generation on to a
                method that needs it.
        """


class Record:
    """The generation under way, and the best member of all so far with all the scores it got.

    The best member is scored again in later generations and its score is the mean of all it got,
    so that one lucky score does not win. `generation` is how many were told, `best` (D,) or None,
    `best_generation` the one that found it, from 1.
    """

    def __init__(self, anchors: np.ndarray | None):
        self.generation, self.best_generation = 0, 0
        self.best: np.ndarray | None = None
        self._scores: list[float] = []
        self._anchors = np.zeros((0, 0)) if anchors is None else np.asarray(anchors, dtype=float)
        self._members: np.ndarray | None = None
        self._again = True

    @property
    def best_score(self) -> float:
        """The mean of all scores that the best member got; −inf before there is one."""
        return sum(self._scores) / len(self._scores) if self._scores else -np.inf

    def first(self) -> np.ndarray:  # (members, D)
        """What the next generation begins with: the best, or at first the anchors."""
        if self.generation == 0 or self.best is None:
            return self._anchors
        return self.best[None]

    def asked(self, members: np.ndarray, again: bool = True) -> np.ndarray:
        """Remember the generation that is handed out.

        Args:
            again: its first member is the best so far, if there is one, to be scored again.
        """
        self._members, self._again = members, again
        return members.copy()

    def told(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The members and their scores: −inf for NaN, the mean of all its scores for the best."""
        if self._members is None:
            raise ValueError("tell() came before ask()")
        scores = np.array(scores, dtype=float)
        if scores.shape != (len(self._members),):
            raise ValueError(f"got scores of shape {scores.shape} for {len(self._members)} members")
        scores[np.isnan(scores)] = -np.inf
        members, self._members = self._members, None
        self.generation += 1
        if self.best is not None and self._again:
            self._scores.append(float(scores[0]))
            scores[0] = self.best_score
        winner = int(scores.argmax())
        if scores[winner] > self.best_score:
            self.best, self.best_generation = members[winner], self.generation
            self._scores = [float(scores[winner])]
        return members, scores


def make_search(
    start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None
) -> Search:
    """A search by the method that `config.found_by` names."""
    search: Search = SEARCH_METHODS[config.found_by].load()(start, config, anchors)
    return search
