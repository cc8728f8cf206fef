"""Which request is worked on when, and how each one ends.

Short requests are answered between two decode steps; asks wait until their rows fit into the
batch; one search at a time runs in the time that asks leave; a cancel takes effect before the next
step; every exception becomes a `Failed` event. The answers are the backend's
(`t2ui.backend.serving`, or a fake one in tests). Knows no process, pipe or thread, and imports no
torch.
"""

import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from t2ui.config import WorkerConfig
from t2ui.errors import InputError, is_out_of_memory
from t2ui.messages import Adapt, Ask, Begun, Cancel, Done, Event, Failed, Queued, Request

SHORT_PER_TURN = 4  # so that many sliders at once cannot hold up the answers that stream
SEARCH_SHARE = 0.4  # of the time goes to a search while answers stream

Envelope = tuple[str, Any]  # (job id, event)
Kind = TypeVar("Kind", bound=Request)


class Backend(Protocol):
    """What answers the requests. Made by a function (config, progress) -> Backend."""

    name: str  # the model's short name
    device: str
    rows: int  # being decoded
    asks: int  # being decoded

    def answer(self, request: Request) -> Iterable[Event]:
        """All events of a short request but the closing Done."""

    def start(self, job_id: str, ask: Ask) -> Iterable[Event]:
        """Pass one, and the ask's rows into the batch; its first events."""

    def step(self) -> Iterable[Envelope]:
        """One decode step of the batch: events of any of its asks, up to Done.

        An exception in an event's place ends that ask alone; one that is raised ends them all.
        """

    def search(self, adapt: Adapt, stopped: Callable[[], bool]) -> Iterator[Event | None]:
        """A search's events but the closing Done; None after a piece of work that gave none.

        Once `stopped()` is true it goes straight to its end, with the best so far.
        """

    def stop(self, job_id: str) -> list[Event]:
        """Take an ask out of the batch; its last events, none if it is not there."""

    def clear(self) -> list[str]:
        """Empty the batch after a failed step; the job ids that were in it."""

    def free_memory(self) -> None:
        """Give back what the device can spare, after it ran out of memory."""


@dataclass
class _Search:
    """The search that runs."""

    job_id: str
    events: Iterator[Event | None]
    began: float  # perf_counter seconds
    stopped: bool = False


class Scheduler:
    """The waiting requests and the batch that decodes. Not thread-safe; sends nothing itself."""

    def __init__(self, backend: Backend, config: WorkerConfig) -> None:
        self._backend = backend
        self._max_rows = config.max_rows
        self._max_queue = config.max_queue
        self._short: deque[tuple[str, Request]] = deque()
        self._asks: deque[tuple[str, Ask]] = deque()
        self._searches: deque[tuple[str, Adapt]] = deque()
        self._search: _Search | None = None
        self._search_ahead = 0.0  # seconds that the search took beyond its share
        self._held_up = False  # in the last turn, streaming answers waited for a new prompt
        self._said: dict[str, int] = {}  # the place in the queue that each waiting job was told
        self._out: list[Envelope] = []

    @property
    def idle(self) -> bool:
        waiting = self._short or self._asks or self._searches or self._out
        return not (waiting or self._backend.asks or self._search)

    @property
    def running(self) -> int:
        return self._backend.asks + (self._search is not None)

    @property
    def queued(self) -> int:
        return len(self._asks) + len(self._searches)

    def take(self, job_id: str, message: Request | Cancel) -> None:
        """Accept a request or a cancel; the events it causes come with the next turn."""
        if isinstance(message, Cancel):
            self._cancel(job_id)
        elif isinstance(message, Ask):
            self._queue(self._asks, job_id, message)
        elif isinstance(message, Adapt):
            self._queue(self._searches, job_id, message)
        else:
            self._queue(self._short, job_id, message)

    def _queue(self, waiting: deque[tuple[str, Kind]], job_id: str, request: Kind) -> None:
        if len(waiting) >= self._max_queue:
            self._out.append((job_id, _busy(len(waiting))))
        else:
            waiting.append((job_id, request))

    def turn(self) -> Iterator[Envelope]:
        """Some short requests, at most one new ask, one decode step, a piece of a search."""
        began = time.perf_counter()
        yield from self._flush()
        for _ in range(min(SHORT_PER_TURN, len(self._short))):
            yield from self._answer(*self._short.popleft())
        yield from self._start_next()
        if self._search is None and self._searches:
            job_id, adapt = self._searches.popleft()
            self._said.pop(job_id, None)
            yield from self._begin_search(job_id, adapt)
        yield from self._places(self._asks, before=0)
        yield from self._places(self._searches, before=1)  # the one under way
        if self._backend.asks:
            yield from self._step()
        if self._search is not None:
            yield from self._search_in_turn(self._search, time.perf_counter() - began)

    def _start_next(self) -> Iterator[Envelope]:
        """The next ask, if it fits. Reading its prompt takes the place of a decode step, so that
        streaming answers get a step of their own between two new asks."""
        streaming = self._backend.asks > 0
        held_up, self._held_up = self._held_up and streaming, False
        if self._asks and not held_up and self._fits(self._asks[0][1]):
            self._held_up = streaming
            job_id, ask = self._asks.popleft()
            self._said.pop(job_id, None)
            yield from self._start(job_id, ask)

    def _places(self, waiting: Iterable[tuple[str, Request]], before: int) -> Iterator[Envelope]:
        for place, (job_id, _) in enumerate(waiting, start=before):
            if self._said.get(job_id) != place:
                self._said[job_id] = place
                yield job_id, Queued(place)

    def _flush(self) -> Iterator[Envelope]:
        out, self._out = self._out, []
        yield from out

    def _fits(self, ask: Ask) -> bool:
        rows = 2 if ask.compare else 1
        return self._backend.asks == 0 or self._backend.rows + rows <= self._max_rows

    def _answer(self, job_id: str, request: Request) -> Iterator[Envelope]:
        yield job_id, Begun()
        began = time.perf_counter()
        try:
            for event in self._backend.answer(request):
                yield job_id, event
        except Exception as error:
            yield job_id, self._failed(error)
        else:
            yield job_id, Done(timings={"total": time.perf_counter() - began})

    def _start(self, job_id: str, ask: Ask) -> Iterator[Envelope]:
        yield job_id, Begun()
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
            # the state of every cache is unknown after a failed step: every ask in the batch ends
            ended = self._backend.clear()  # first: the batch may hold the memory that is missing
            failed = self._failed(error)
            for job_id in ended:
                yield job_id, failed

    def _begin_search(self, job_id: str, adapt: Adapt) -> Iterator[Envelope]:
        yield job_id, Begun()
        search = _Search(job_id, iter(()), time.perf_counter())
        search.events = iter(self._backend.search(adapt, lambda: search.stopped))
        self._search, self._search_ahead = search, 0.0

    def _search_in_turn(self, search: _Search, others: float) -> Iterator[Envelope]:
        """A piece of the search; while answers stream, only as often as SEARCH_SHARE allows.

        `others` is how long the rest of this turn took, in seconds.
        """
        if not self._backend.asks:
            self._search_ahead = 0.0
        elif self._search_ahead > 0:
            self._search_ahead -= others * SEARCH_SHARE / (1 - SEARCH_SHARE)
            return
        began = time.perf_counter()
        try:
            event = next(search.events)
        except StopIteration:
            self._search = None
            timings = {"total": time.perf_counter() - search.began}
            yield search.job_id, Done(cancelled=search.stopped, timings=timings)
        except Exception as error:
            self._search = None
            yield search.job_id, self._failed(error)
        else:
            self._search_ahead += time.perf_counter() - began
            if event is not None:
                yield search.job_id, event

    def _cancel(self, job_id: str) -> None:
        if self._search is not None and self._search.job_id == job_id:
            self._search.stopped = True  # it reports the best so far, then ends
        self._take_out(self._short, job_id)
        self._take_out(self._asks, job_id)
        self._take_out(self._searches, job_id)
        self._out += [(job_id, event) for event in self._backend.stop(job_id)]

    def _take_out(self, waiting: deque[tuple[str, Kind]], job_id: str) -> None:
        for entry in [entry for entry in waiting if entry[0] == job_id]:
            waiting.remove(entry)
            self._said.pop(job_id, None)
            self._out.append((job_id, Done(cancelled=True)))

    def _failed(self, error: Exception) -> Failed:
        if is_out_of_memory(error):
            self._backend.free_memory()
        return failure(error)


def failure(error: Exception) -> Failed:
    """An exception as data. All but an InputError are also printed with their traceback."""
    if isinstance(error, InputError):
        return Failed(str(error))
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
    return Failed(f"The model is busy: {waiting} requests wait already.", "Try again in a minute.")
