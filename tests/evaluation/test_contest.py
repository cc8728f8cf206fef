"""Who wins a contest, and whether that is more than luck."""

import pytest

from t2ui.evaluation.contest import decide
from t2ui.evaluation.statistics import paired_p, wilson

BASE = [False] * 8 + [True] * 2
GOOD = [True] * 8 + [False] * 2


def test_the_best_entry_is_tested_against_each_rival():
    worse = [True] * 5 + [False] * 5
    found = decide([worse, GOOD], [BASE, worse])
    assert found.best == 1 and found.entries[1].count == 8
    assert (found.entries[1].low, found.entries[1].high) == wilson(8, 10)
    base, other = found.tests
    assert (base.won, base.lost, base.p) == (8, 2, paired_p(BASE, GOOD))
    assert (other.won, other.lost, other.p) == (3, 0, 0.25)


def test_of_equals_the_first_is_ahead():
    assert decide([BASE, GOOD, GOOD]).best == 1


def test_nobody_handed_in():
    found = decide([], [BASE])
    assert found.best is None and found.tests == () and found.rivals[0].count == 2


def test_all_answer_the_same_questions():
    with pytest.raises(ValueError):
        decide([GOOD], [BASE[:5]])
