"""One fold of a worker's events, for the page and for the API."""

from functools import reduce

from t2ui.messages import (
    AnswerSoFar,
    Classified,
    Compared,
    Done,
    Failed,
    Mixed,
    Queued,
    Tokens,
)
from t2ui.ui.api.ask import result_of

EVENTS = (
    Queued(2),
    Queued(0),
    Classified(
        "math", {"math": 0.9, "others": 0.1}, {"math": 0.6, "others": 0.4}, "", "prompt", 0.1
    ),
    Mixed({"math": 1.0}, 0.0, "prompt dispatcher, 0.90"),
    Tokens("base", ("The ", "cat"), 2, 0.1),
    Tokens("adapted", ("A",), 1, 0.1),
    Tokens("base", (" sat",), 3, 0.2),
    Compared((), 0),
    Done(False, {"total": 1.0}, {"seed": 0}),
)


def after(*events) -> AnswerSoFar:
    return reduce(AnswerSoFar.after, events, AnswerSoFar())


def test_every_event_finds_its_place_and_text_adds_up():
    answer = after(*EVENTS)
    assert (answer.queued.before, answer.classified, answer.mixed) == (0, EVENTS[2], EVENTS[3])
    assert (answer.base.text, answer.base.tokens, answer.base.seconds) == ("The cat sat", 3, 0.2)
    assert answer.written("adapted").pieces == ("A",)
    assert (answer.compared, answer.done, answer.failed) == (*EVENTS[-2:], None)
    failed = Failed("Out of memory.", "Ask for less.")
    assert after(*EVENTS[:5], failed).failed == failed
    assert after(*EVENTS[:5], failed).base.text == "The cat"
    assert after("something else") == AnswerSoFar()


def test_what_came_before_an_event_is_not_changed_by_it():
    before = after(*EVENTS[:5])
    before.after(Tokens("base", ("!",), 3, 0.3))
    assert before.base.text == "The cat"


def test_a_script_reads_what_is_there_so_far():
    assert result_of(AnswerSoFar()) == {"classification": None, "base": "", "adapted": ""}
    streaming = result_of(after(*EVENTS[:6]))
    assert (streaming["base"], streaming["adapted"]) == ("The cat", "A")
    assert streaming["classification"]["label"] == "math"
    assert (streaming["mixture"], streaming["set_by"]) == ({"math": 1.0}, EVENTS[3].set_by)
    assert "receipt" not in streaming
    whole = result_of(after(*EVENTS))
    assert (whole["timings"], whole["receipt"]) == ({"total": 1.0}, {"seed": 0})
