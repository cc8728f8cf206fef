"""How large the pieces of prompts are that are read beside answers."""

import pytest

from t2ui.backend.pace import ALONE_SECONDS, FIRST_TOKENS, LEAST_TOKENS, PRICE, Pace


@pytest.fixture
def pace():
    """A decode step takes 0.1 s, and a token of a prompt 0.001 s."""
    known = Pace()
    known.decoded(0.1)
    known.read(100, 0.1)
    return known


def test_a_piece_takes_as_long_as_a_step_of_the_answers_that_wait_for_it(pace):
    assert pace.tokens(beside=True) == 100
    assert pace.tokens(beside=False) == 400, "nobody waits: as long as who comes may wait"
    assert Pace().tokens(beside=True) == FIRST_TOKENS


def test_a_piece_is_never_so_small_that_it_costs_as_much_as_a_larger_one(pace):
    pace.read(100, 5)
    assert pace.tokens(beside=True) == LEAST_TOKENS == pace.tokens(beside=False)


def test_where_more_prompts_wait_than_answers_their_pieces_are_larger(pace):
    assert pace.tokens(beside=True, crowd=2) == 200
    assert pace.tokens(beside=True, crowd=15) == ALONE_SECONDS / 0.001
    assert pace.tokens(beside=True, crowd=0.1) == 100, "a single prompt has its half of the time"


def test_reading_waits_until_the_answers_have_had_their_share(pace):
    pace.read(60, 0.3, beside=True)
    assert not pace.may_read(beside=True) and pace.may_read(beside=False)
    pace.decoded(0.2)
    assert not pace.may_read(beside=True)
    pace.decoded(0.1 + 0.3 * (PRICE - 1))
    assert pace.may_read(beside=True)
    pace.read(60, 0.3, beside=True, crowd=3)
    pace.decoded(0.1 * PRICE)
    assert pace.may_read(beside=True), "three wait for each that decodes"
