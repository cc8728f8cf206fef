"""How sure a comparison is: intervals of proportions, a paired test, and what probabilities are
worth. Plain numbers."""

import math
import sys
from collections.abc import Sequence
from statistics import NormalDist

Z95 = NormalDist().inv_cdf(0.975)  # standard deviations on either side of a 95 % interval
ECE_BINS = 15


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


def expected_calibration_error(confidences: Sequence[float], right: Sequence[bool]) -> float:
    """How far probabilities are from the share of right answers (ECE).

    Predictions are put into ECE_BINS equal bins by their confidence, the probability of what was
    predicted; ECE = Σ_b n_b / n · |share right in b − mean confidence in b| (Naeini et al. 2015;
    Guo et al. 2017, "On calibration of modern neural networks"). 0 is best; 0 without predictions.
    """
    bins: dict[int, list[tuple[float, bool]]] = {}
    for confidence, correct in zip(confidences, right, strict=True):
        place = max(math.ceil(confidence * ECE_BINS), 1)  # of bins (0, 1/15], (1/15, 2/15], …
        bins.setdefault(place, []).append((confidence, correct))
    gaps = [abs(sum(correct - c for c, correct in members)) for members in bins.values()]
    return sum(gaps) / max(len(confidences), 1)


def mean_negative_log_likelihood(probabilities: Sequence[float]) -> float:
    """−mean log p of what was right, in nats; a p of 0 counts as the least float above it."""
    return -sum(math.log(max(p, sys.float_info.min)) for p in probabilities) / len(probabilities)
