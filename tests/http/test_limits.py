"""Limits are settings, rates let bursts through, and nobody listens for ever."""

import asyncio
from dataclasses import fields
from types import SimpleNamespace

import pytest

from t2ui.errors import InputError
from t2ui.http.limits import BURST_SECONDS, Limits, is_space
from t2ui.http.listeners import Listeners
from t2ui.http.rates import MOST_KEYS, Rates
from t2ui.http.refusal import Refusal


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


# --- settings ------------------------------------------------------------------------------------


def test_every_limit_can_be_set_in_the_environment():
    for field in fields(Limits):
        if field.name == "public":
            continue
        for public in (False, True):
            found = Limits.of(public, {f"T2UI_{field.name.upper()}": "1"})
            assert getattr(found, field.name) == 1 and found.public is public
            assert type(getattr(found, field.name)) is type(field.default)


@pytest.mark.parametrize("text", ["many", "", "-1", "1.5", "nan", "inf", "1e400", "9" * 5000])
def test_a_limit_that_is_no_number_is_one_clear_line(text):
    with pytest.raises(InputError, match="T2UI_ANSWERS is .*; expected a whole number") as refused:
        Limits.of(False, {"T2UI_ANSWERS": text})
    assert len(str(refused.value)) < 300


def test_an_app_for_strangers_lets_in_less():
    public, own = Limits.of(True, {}), Limits.of(False, {})
    assert public.public and not own.public
    assert public.api_answers_per_address == 1 < own.api_answers_per_address
    assert public.answers_per_session == own.answers_per_session == 1
    for field in fields(Limits):
        if field.name.endswith(("_per_address", "_per_session")):
            assert getattr(public, field.name) <= getattr(own, field.name)
    assert is_space({"SPACE_ID": "someone/something"}) and not is_space({})


# --- rates ---------------------------------------------------------------------------------------


def test_a_burst_goes_through_and_then_so_many_a_second():
    clock = Clock()
    rates = Rates(clock)
    taken = sum(rates.take("me", 2) == 0 for _ in range(100))
    assert taken == 2 * BURST_SECONDS
    assert 0 < rates.take("me", 2) <= 0.5 and rates.take("you", 2) == 0
    clock.now += 1
    assert [rates.take("me", 2) == 0 for _ in range(3)] == [True, True, False]
    clock.now += 3600
    assert sum(rates.take("me", 2) == 0 for _ in range(100)) == 2 * BURST_SECONDS


def test_what_turns_out_large_is_waited_for_afterwards():
    clock = Clock()
    rates = Rates(clock)
    assert rates.take("me", 10, amount=0) == 0
    assert rates.take("me", 10, amount=10 * BURST_SECONDS + 50) == 0
    assert rates.take("me", 10, amount=0) == pytest.approx(5.1)
    clock.now += 5.2
    assert rates.take("me", 10, amount=0) == 0


def test_a_rate_of_nothing_lets_nobody_wait_in_vain():
    rates = Rates(Clock())
    assert rates.take("me", 0) == 0  # the first
    assert rates.take("me", 0) > 60


def test_forged_sessions_do_not_fill_the_memory():
    rates = Rates(Clock())
    for number in range(MOST_KEYS + 500):
        rates.take(number, 1)
    assert len(rates._left) == MOST_KEYS


# --- who listens ---------------------------------------------------------------------------------


class Queue:
    """What Gradio's queue holds, as the listeners see it."""

    def __init__(self):
        self.under_way, self.messages, self.ended = [], set(), []

    def events(self):
        return list(self.under_way)

    def sessions(self):
        return self.messages | {event.session_hash for event in self.under_way}

    async def end(self, event):
        self.under_way.remove(event)
        self.ended.append(event.session_hash)

    def forget(self, session):
        self.messages.discard(session)

    def post(self, session):
        self.messages.add(session)
        self.under_way.append(SimpleNamespace(session_hash=session))


@pytest.fixture
def place():
    queue, clock = Queue(), Clock()
    return Listeners(Limits(unheard_seconds=8, streams_per_address=2), queue, clock), queue, clock


def sweep(place, seconds):
    listeners, _, clock = place
    for _ in range(seconds):
        clock.now += 1
        asyncio.run(listeners.sweep())


def test_what_nobody_listens_to_ends_after_some_seconds(place):
    listeners, queue, _ = place
    queue.post("unread")
    sweep(place, 8)
    assert not queue.ended
    sweep(place, 1)
    assert queue.ended == ["unread"] and not queue.messages


def test_what_somebody_listens_to_goes_on_and_ends_after_the_stream_was_closed(place):
    listeners, queue, _ = place
    queue.post("heard")
    with listeners.stream("1.1.1.1", "heard"):
        sweep(place, 600)
        assert not queue.ended and queue.messages
    sweep(place, 7)
    assert not queue.ended
    sweep(place, 1)
    assert queue.ended == ["heard"]


def test_a_new_post_of_a_session_has_its_own_time_to_be_heard(place):
    listeners, queue, _ = place
    queue.post("page")
    with listeners.stream("1.1.1.1", "page"):
        queue.under_way.clear()  # it has ended and was read
    sweep(place, 7)
    listeners.expect("page")
    queue.post("page")
    sweep(place, 7)
    assert not queue.ended
    with listeners.stream("1.1.1.1", "page"), listeners.stream("1.1.1.1", "page"):
        sweep(place, 60)
    assert not queue.ended


def test_messages_that_nobody_reads_are_dropped(place):
    listeners, queue, _ = place
    queue.messages = {"a", "b", "c"}
    with listeners.stream("1.1.1.1", "a"):
        sweep(place, 10)
        assert queue.messages == {"a"}
    sweep(place, 10)
    assert not queue.messages and not listeners._unheard and not listeners._listening


def test_an_address_has_so_many_streams(place):
    listeners, _, _ = place
    with listeners.stream("1.1.1.1", None), listeners.stream("1.1.1.1", "a"):
        with pytest.raises(Refusal, match="2 event streams") as refused:
            with listeners.stream("1.1.1.1", "b"):
                raise AssertionError("it was let in")
        assert refused.value.status == 429 and refused.value.retry
        with listeners.stream("2.2.2.2", "c"):
            pass
    with listeners.stream("1.1.1.1", "b"):
        pass
    assert not listeners._streams
