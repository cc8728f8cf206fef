"""Members of a population that cannot win any more, whatever the remaining answers are.

A search looks at so many of a generation's best. A member that so many others beat already even if
all its own remaining answers were right need not be asked on: the search goes the same way without
it. Knows right answers and their numbers, nothing of models.
"""

from collections import Counter
from collections.abc import Collection

import numpy as np


class Race:
    """One generation that is scored by right answers, more of them being better in any case."""

    def __init__(self, asked: Collection[tuple[int, int]], winners: int | None):
        """
        Args:
            asked: (member, example) of all answers.
            winners: how many of the best count; None: all members do, and none is ever lost.
        """
        self._winners = winners
        self._left = Counter(member for member, _ in asked)
        self._right = Counter(dict.fromkeys(self._left, 0))

    def tell(self, member: int, right: bool) -> None:
        """One of a member's answers is judged."""
        self._left[member] -= 1
        self._right[member] += right

    def lost(self, member: int) -> bool:
        """Whether so many others are ahead of the best that a member can get. The first member is
        never lost: a search may take the mean of all scores that its best so far got."""
        if self._winners is None or member == 0:
            return False
        best = self._right[member] + self._left[member]  # ties are broken by less than one answer
        ahead = np.sum(np.fromiter(self._right.values(), dtype=int) > best)
        return bool(ahead >= self._winners)
