"""Which request is worked on when, and how each one ends.

Answers come first: one decode step of the batch in every turn. Short requests, and one search (or
a trial of many questions) at a time, get a part of the time beside them, in pieces; scores of
mixtures take a search's turns while they last. A cancel takes effect before the next piece, and
every exception becomes a `Failed` event. What a request's answer is, the backend knows
(`t2ui.backend.serving`, or a fake one in tests). Knows no process, pipe or thread, and imports no
torch.
"""

import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from t2ui.config import WorkerConfig
from t2ui.errors import InputError, is_out_of_memory
from t2ui.messages import (
    Adapt,
    Ask,
    Begun,
    Cancel,
    Done,
    Event,
    Experts,
    Failed,
    NextToken,
    Queued,
    Request,
    ScoreMixtures,
    SessionEnded,
    Steer,
    Trial,
)

SHORT_PER_TURN = 4  # pieces of short requests, so that a cancel is seen between them
SHORT_SHARE = 0.4  # of the time, for short requests (sliders) beside answers that stream
SEARCH_SHARE = 0.4  # the same for a search, or for scores

Long = Adapt | Trial | ScoreMixtures  # requests that are worked on for long
Envelope = tuple[str, Any]  # (job id, event)
Kind = TypeVar("Kind", bound=Request)


class Backend(Protocol):
    """What answers the requests. Made by a function (config, progress) -> Backend."""

    name: str  # the model's short name
    device: str
    rows: int  # being decoded
    asks: int  # being decoded

    def listings(self) -> Iterable[Experts | SessionEnded]:
        """The lists of experts that have changed since this was last called."""

    def answer(self, request: Request) -> Iterator[Event | None]:
        """All events of a short request but the closing Done; None after a piece of work that
        gave none."""

    def start(self, job_id: str, ask: Ask) -> Iterable[Event]:
        """Pass one, and the ask's rows into the batch; its first events."""

    def step(self) -> Iterable[Envelope]:
        """One decode step of the batch: events of any of its asks, up to Done.

        An exception in an event's place ends that ask alone; one that is raised ends them all.
        """

    def search(self, request: Long, stopped: Callable[[], bool]) -> Iterator[Event | None]:
        """A search's events, a trial's or those of scores, but the closing Done; None after a piece
        of work that gave none.

        Once `stopped()` is true it goes straight to its end, with what it has so far.
        """

    def steer(self, request: Steer) -> list[Event]:
        """Another mixture for the rest of an ask's answer; what the ask's own job is told."""

    def stop(self, job_id: str) -> list[Event]:
        """Take an ask out of the batch; its last events, none if it is not there."""

    def clear(self) -> list[str]:
        """Empty the batch after a failed step; the job ids that were in it."""

    def free_memory(self) -> None:
        """Give back what the device can spare, after it ran out of memory."""


@dataclass
class _Work:
    """A short request or a search under way, in pieces."""

    job_id: str
    request: Request
    events: Iterator[Event | None]
    began: float  # perf_counter seconds
    stopped: bool = False


@dataclass
class _Lane:
    """Long requests of one kind: those that wait, and the one under way."""

    waiting: deque[tuple[str, Long]] = field(default_factory=deque)
    work: _Work | None = None


class Share:
    """Lets a kind of work have at most a part of the time beside answers that stream.

    `pay` says how long the answers were worked on, `spend` how long this kind of work was; it may
    go on while `free`. One piece may be long: then the answers get their part first.
    """

    def __init__(self, part: float) -> None:
        self._ratio = part / (1 - part)
        self._ahead = 0.0  # seconds that it had more than its part

    @property
    def free(self) -> bool:
        return self._ahead <= 0

    def spend(self, seconds: float) -> None:
        self._ahead += seconds

    def pay(self, seconds: float) -> None:
        if self._ahead > 0:  # a time without this kind of work is not saved up
            self._ahead -= seconds * self._ratio

    def forget(self) -> None:
        """Nobody's answer waits: all the time is free."""
        self._ahead = 0.0


class Scheduler:
    """The requests that wait and the batch that decodes. Not thread-safe; sends nothing itself."""

    def __init__(self, backend: Backend, config: WorkerConfig) -> None:
        self._backend = backend
        self._max_rows = config.max_rows
        self._max_queue = config.max_queue
        self._short: deque[tuple[str, Request]] = deque()
        self._asks: deque[tuple[str, Ask]] = deque()
        self._scores, self._searches = _Lane(), _Lane()
        self._long = (self._scores, self._searches)  # the first that has work is worked on
        self._answering: _Work | None = None  # the short request under way
        self._shares = {"short": Share(SHORT_SHARE), "search": Share(SEARCH_SHARE)}
        self._held_up = False  # the answers that stream waited for a new prompt in the last turn
        self._said: dict[str, int] = {}  # the last place in the queue that a waiting job was told
        self._started: dict[str, tuple[str, float]] = {}  # ask under way: who sent it, since when
        self._ask_seconds: float | None = None  # how long an ask takes, smoothed
        self._out: list[Envelope] = []

    @property
    def idle(self) -> bool:
        waiting = self._short or self._asks or self._out or any(one.waiting for one in self._long)
        return not (waiting or self._backend.asks or self._answering or self._at_work)

    @property
    def running(self) -> int:
        return self._backend.asks + len(self._at_work)

    @property
    def rows(self) -> int:
        return self._backend.rows

    @property
    def queued(self) -> int:
        return len(self._asks) + sum(len(one.waiting) for one in self._long)

    @property
    def _at_work(self) -> list[_Work]:
        """The long requests under way; the first is worked on."""
        return [one.work for one in self._long if one.work is not None]

    def take(self, job_id: str, message: Request | Cancel) -> None:
        """Accept a request or a cancel; what is to be said about it comes with the next turn."""
        if isinstance(message, Cancel):
            self._cancel(job_id)
            return
        if isinstance(message, Steer):
            self._steer(job_id, message)
            return
        if isinstance(message, NextToken) and message.session:
            self._replace_next_token(message.session)
        waiting = self._queue_of(message)
        if len(waiting) >= self._max_queue:
            self._out.append((job_id, _busy(len(waiting))))
        else:
            waiting.append((job_id, message))

    def turn(self) -> Iterator[Envelope]:
        """New asks, one decode step, and pieces of short requests and of a search."""
        for job_id, event in self._turn():
            if isinstance(event, (Done, Failed)):
                self._ended(job_id)
            yield job_id, event

    def _turn(self) -> Iterator[Envelope]:
        yield from self._flush()
        began = time.perf_counter()
        yield from self._start_next()
        yield from self._places(self._asks_in_order(), before=0)
        if self._backend.asks:
            yield from self._step()
        for share in self._shares.values():
            share.pay(time.perf_counter() - began)
        if not self._backend.asks:
            for share in self._shares.values():
                share.forget()
        yield from self._short_in_turn()
        for lane in self._long:
            if lane.work is None and lane.waiting:
                yield from self._begin_long(lane)
            yield from self._places(list(lane.waiting), before=1)  # the one under way
        lane = next((one for one in self._long if one.work is not None), self._searches)
        if lane.work is not None and self._shares["search"].free:
            yield from self._piece_of_long(lane, lane.work)

    def _queue_of(self, request: Request) -> deque:
        if isinstance(request, Ask):
            return self._asks
        if isinstance(request, ScoreMixtures):
            return self._scores.waiting
        return self._searches.waiting if isinstance(request, (Adapt, Trial)) else self._short

    def _replace_next_token(self, session: str) -> None:
        """Only the newest next-token request of a session matters: its sliders have moved on."""
        for entry in list(self._short):
            if isinstance(entry[1], NextToken) and entry[1].session == session:
                self._short.remove(entry)
                self._out.append((entry[0], Done(cancelled=True)))
        work = self._answering
        if work and isinstance(work.request, NextToken) and work.request.session == session:
            self._end_short(work.job_id)

    def _asks_in_order(self) -> list[tuple[str, Ask]]:
        """The asks that wait: first those of sessions with the fewest answers under way."""
        under_way = Counter(session for session, _ in self._started.values())
        ahead: Counter[str] = Counter()
        ranks = []
        for place, (job_id, ask) in enumerate(self._asks):
            session = ask.session or job_id
            ranks.append((under_way[session] + ahead[session], place))
            ahead[session] += 1
        return [self._asks[place] for _, place in sorted(ranks)]

    def _start_next(self) -> Iterator[Envelope]:
        """The next asks, as many as fit: prompts that are read together take half the time. A pass
        one takes the place of a decode step, so there is one in a turn, and the answers that
        stream get a step of their own between two."""
        streaming = self._backend.asks > 0
        may_pass_one = not (self._held_up and streaming)
        self._held_up = False
        while waiting := self._asks_in_order():
            job_id, ask = waiting[0]
            if not self._fits(ask) or (ask.has_pass_one and not may_pass_one):
                return
            if ask.has_pass_one:
                may_pass_one, self._held_up = False, streaming
            self._asks.remove(waiting[0])
            self._said.pop(job_id, None)
            yield from self._start(job_id, ask)

    def _places(self, waiting: Sequence[tuple[str, Request]], before: int) -> Iterator[Envelope]:
        for place, (job_id, request) in enumerate(waiting, start=before):
            if self._said.get(job_id) != place:
                self._said[job_id] = place
                yield job_id, Queued(place, self._wait(place) if isinstance(request, Ask) else None)

    def _wait(self, place: int) -> float | None:
        """About how many seconds an ask waits that has so many before it; None: not known yet."""
        if self._ask_seconds is None:
            return None
        return (place + 1) * self._ask_seconds / max(1, self._backend.asks)

    def _ended(self, job_id: str) -> None:
        if (started := self._started.pop(job_id, None)) is None:
            return
        took = time.perf_counter() - started[1]
        known = self._ask_seconds
        self._ask_seconds = took if known is None else 0.7 * known + 0.3 * took

    def _flush(self) -> Iterator[Envelope]:
        out, self._out = self._out, []
        yield from out

    def _fits(self, ask: Ask) -> bool:
        return self._backend.asks == 0 or self._backend.rows + ask.rows <= self._max_rows

    def _short_in_turn(self) -> Iterator[Envelope]:
        """Some pieces of short requests, as long as answers that stream leave the time."""
        share = self._shares["short"]
        for _ in range(SHORT_PER_TURN):
            if not share.free or not (self._answering or self._short):
                return
            began = time.perf_counter()
            if self._answering is None:
                job_id, request = self._short.popleft()
                yield job_id, Begun()
                events = iter(self._backend.answer(request))
                self._answering = _Work(job_id, request, events, began)
            yield from self._piece_of_short(self._answering)
            if self._backend.asks:
                share.spend(time.perf_counter() - began)

    def _piece_of_short(self, work: _Work) -> Iterator[Envelope]:
        """Up to its end, or to the end of a piece that gave no event."""
        try:
            while (event := next(work.events)) is not None:
                yield work.job_id, event
        except StopIteration:
            self._answering = None
            yield work.job_id, Done(timings={"total": time.perf_counter() - work.began})
        except Exception as error:
            self._answering = None
            yield work.job_id, self._failed(error)

    def _end_short(self, job_id: str) -> None:
        """Drop the short request under way, if it is this one."""
        if self._answering is not None and self._answering.job_id == job_id:
            self._answering = None
            self._out.append((job_id, Done(cancelled=True)))

    def _start(self, job_id: str, ask: Ask) -> Iterator[Envelope]:
        yield job_id, Begun()
        self._started[job_id] = (ask.session or job_id, time.perf_counter())
        try:
            for event in self._backend.start(job_id, ask):
                yield job_id, event
        except Exception as error:
            self._backend.stop(job_id)
            yield job_id, self._failed(error)

    def _step(self) -> Iterator[Envelope]:
        try:
            for job_id, event in self._backend.step():
                yield job_id, self._failed(event) if isinstance(event, Exception) else event
        except Exception as error:
            # the step left no one's cache in a known state: every ask in the batch ends here
            ended = self._backend.clear()  # first: what it holds is what memory may be short of
            failed = self._failed(error)
            for job_id in ended:
                yield job_id, failed

    def _begin_long(self, lane: _Lane) -> Iterator[Envelope]:
        job_id, request = lane.waiting.popleft()
        self._said.pop(job_id, None)
        yield job_id, Begun()
        work = _Work(job_id, request, iter(()), time.perf_counter())
        work.events = iter(self._backend.search(request, lambda: work.stopped))
        lane.work = work
        if lane is self._searches:  # scores are short and many: each would begin for free
            self._shares["search"].forget()

    def _piece_of_long(self, lane: _Lane, work: _Work) -> Iterator[Envelope]:
        began = time.perf_counter()
        try:
            event = next(work.events)
        except StopIteration:
            lane.work = None
            timings = {"total": time.perf_counter() - work.began}
            yield work.job_id, Done(cancelled=work.stopped, timings=timings)
        except Exception as error:
            lane.work = None
            yield work.job_id, self._failed(error)
        else:
            if self._backend.asks:
                self._shares["search"].spend(time.perf_counter() - began)
            if event is not None:
                yield work.job_id, event

    def _steer(self, job_id: str, request: Steer) -> None:
        """At once: the next decode step is the first with the new coefficients."""
        try:
            told = self._backend.steer(request)
        except Exception as error:
            self._out.append((job_id, self._failed(error)))
        else:
            self._out += [*((request.job_id, event) for event in told), (job_id, Done())]

    def _cancel(self, job_id: str) -> None:
        for work in self._at_work:
            if work.job_id == job_id:
                work.stopped = True  # it says what it found, then it ends
        self._end_short(job_id)
        self._take_out(self._short, job_id)
        self._take_out(self._asks, job_id)
        for lane in self._long:
            self._take_out(lane.waiting, job_id)
        self._out += [(job_id, event) for event in self._backend.stop(job_id)]

    def _take_out(self, waiting: deque[tuple[str, Kind]], job_id: str) -> None:
        """End a job that waits here, if it does."""
        for entry in [entry for entry in waiting if entry[0] == job_id]:
            waiting.remove(entry)
            self._said.pop(job_id, None)
            self._out.append((job_id, Done(cancelled=True)))

    def _failed(self, error: Exception) -> Failed:
        if is_out_of_memory(error):
            self._backend.free_memory()
        return failure(error)


def failure(error: Exception) -> Failed:
    """An exception as data. One that nobody expected is also printed with its traceback."""
    if isinstance(error, InputError):
        return Failed(str(error), cause="input")
    traceback.print_exception(error, file=sys.stderr)
    if is_out_of_memory(error):
        return Failed(
            "The device ran out of memory.", "Ask for a shorter answer, or run fewer rows at once."
        )
    return Failed(
        f"Something went wrong here: {type(error).__name__}: {error}",
        "Try again; the terminal that started the app shows where it happened.",
    )


def _busy(waiting: int) -> Failed:
    message = f"The model is busy: {waiting} requests wait already."
    return Failed(message, "Try again in a minute.", "busy")
