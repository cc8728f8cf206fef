"""Intervals and paired tests: published values, values by hand, and scipy on many inputs."""

import random

import pytest
from scipy.stats import binomtest

from t2ui.evaluation.statistics import interval_of, paired_p, wilson


@pytest.mark.parametrize(
    ("right", "n", "interval"),
    [
        # Newcombe 1998, "Two-sided confidence intervals for the single proportion", table I
        (81, 263, (0.2553, 0.3662)),
        (15, 148, (0.0624, 0.1605)),
        (0, 20, (0.0000, 0.1611)),
        (1, 29, (0.0061, 0.1718)),
        (20, 20, (0.8389, 1.0)),
        (0, 0, (0.0, 1.0)),
    ],
)
def test_wilson_interval(right, n, interval):
    assert wilson(right, n) == pytest.approx(interval, abs=6e-5)
    assert all(0 <= bound <= 1 for bound in wilson(right, n))


def test_wilson_is_scipys():
    cases = [(right, n) for n in range(1, 41) for right in range(n + 1)]
    cases += [(random.Random(n).randint(0, n), n) for n in range(100, 20_000, 371)]
    for right, n in cases:
        theirs = binomtest(right, n).proportion_ci(confidence_level=0.95, method="wilson")
        assert wilson(right, n) == pytest.approx((theirs.low, theirs.high), abs=1e-12), (right, n)
        assert interval_of(right, n) == [round(bound, 4) for bound in wilson(right, n)]


@pytest.mark.parametrize(
    ("won", "lost", "p"),
    [
        (9, 1, 2 * (1 + 10) / 1024),
        (1, 9, 2 * (1 + 10) / 1024),
        (5, 0, 2 / 32),
        (8, 2, 2 * (1 + 10 + 45) / 1024),
        (3, 3, 1.0),
        (1, 1, 1.0),
        (0, 0, 1.0),
    ],
)
def test_mcnemar_is_the_exact_two_sided_binomial_test(won, lost, p):
    base, adapted = rows(won, lost, both=7, neither=4)
    assert paired_p(base, adapted) == pytest.approx(p)


def test_mcnemar_is_scipys_binomial_test_of_the_rows_that_differ():
    cases = [(won, lost) for won in range(25) for lost in range(25) if won + lost]
    cases += [(random.Random(n).randint(0, n), n) for n in range(50, 2000, 61)]
    for won, lost in cases:
        base, adapted = rows(won, lost, both=won, neither=3)
        theirs = binomtest(won, won + lost, 0.5).pvalue
        assert paired_p(base, adapted) == pytest.approx(theirs, rel=1e-9, abs=1e-300), (won, lost)


def test_paired_rows_must_pair():
    with pytest.raises(ValueError):
        paired_p([True], [True, False])


def rows(won: int, lost: int, both: int, neither: int) -> tuple[list[bool], list[bool]]:
    """Outcomes of the base and of another method, in a shuffled order."""
    pairs = [(False, True)] * won + [(True, False)] * lost
    pairs += [(True, True)] * both + [(False, False)] * neither
    random.Random(won).shuffle(pairs)
    base, adapted = zip(*pairs, strict=True)
    return list(base), list(adapted)
