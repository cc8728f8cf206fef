"""Room for requests: what has been stopped is waited for, and what goes on is not."""

import asyncio

import pytest

from t2ui.http.limits import Limits
from t2ui.http.places import ANSWERS, Entry, Places
from t2ui.http.refusal import Refusal
from t2ui.ui.shared.visitor import Visitor

ME = Visitor("mine", "8.8.8.8")


class Queue:
    """Events under way; one that was stopped is gone after some looks at it."""

    def __init__(self, *running, looks=3):
        self.running, self.over, self.looks = list(running), [], looks

    def entries(self):
        if self.over or any(one.stopped for one in self.running):
            self.looks -= 1
        return self.running if self.looks > 0 else []

    def told_of_their_end(self):
        return self.over

    def entry_of(self, event_id):
        return self.running[0] if event_id == "known" else None


def asked_again(queue):
    places, entry = Places(Limits(), queue), Entry(ANSWERS, ME)

    async def come():
        await places.settle(entry)
        with places.hold(entry):
            return queue.looks

    return asyncio.run(come())


def test_an_answer_that_was_stopped_is_waited_for():
    queue = Queue(Entry(ANSWERS, ME))
    Places(Limits(), queue).stopped("unknown", ME)
    Places(Limits(), queue).stopped("known", Visitor("theirs", "8.8.8.8"))
    with pytest.raises(Refusal, match="1 answer of yours is under way"):
        asked_again(queue)
    assert queue.looks == 3, "only who asked it may stop it"
    Places(Limits(), queue).stopped("known", ME)
    assert asked_again(queue) <= 0


def test_an_answer_whose_listener_has_heard_the_end_is_waited_for():
    queue = Queue(Entry(ANSWERS, ME))
    queue.over = list(queue.running)
    assert asked_again(queue) <= 0


def test_one_that_does_not_end_is_not_waited_for_for_ever(monkeypatch):
    monkeypatch.setattr("t2ui.http.places.SETTLE_SECONDS", 0.05)
    queue = Queue(Entry(ANSWERS, ME, stopped=True), looks=10_000)
    with pytest.raises(Refusal, match="1 answer of yours is under way"):
        asked_again(queue)
