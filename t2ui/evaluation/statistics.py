"""How sure a comparison is: intervals of proportions, and a paired test. Plain numbers."""

import math
from collections.abc import Sequence
from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)  # standard deviations on either side of a 95 % interval


def wilson(right: int, n: int) -> tuple[float, float]:
    """95 % Wilson score interval of a proportion: `right` successes in `n` trials."""
    if n == 0:
        return 0.0, 1.0
    p, z2 = right / n, Z95**2
    centre = (p + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 * math.sqrt(p * (1 - p) / n + z2 / (4 * n * n)) / (1 + z2 / n)
    return max(0.0, centre - half), min(1.0, centre + half)


def interval_of(right: int, n: int) -> list[float]:
    """`wilson`, rounded for records."""
    return [round(bound, 4) for bound in wilson(right, n)]


def paired_p(base: Sequence[bool], adapted: Sequence[bool]) -> float:
    """Two-sided exact McNemar test of two methods on the same rows.

    The probability of a split at least as uneven as this one, among the rows that only one of the
    two got right, if neither were better.

    Raises:
        ValueError: the two are not of the same length.
    """
    won = sum(a and not b for b, a in zip(base, adapted, strict=True))
    lost = sum(b and not a for b, a in zip(base, adapted, strict=True))
    n = won + lost
    if n == 0:
        return 1.0
    tail = sum(math.comb(n, k) for k in range(min(won, lost) + 1)) / 2**n
    return min(1.0, 2 * tail)
