"""The loop that owns the model: which request is worked on when, and how each one ends.

`main` is a process of its own that ends when its parent does, `serve` the same loop in any thread.
What a request's answer is, the backend knows (`t2ui.serving`, or a fake one in tests); this file
knows the order: short requests between two decode steps, asks in a queue until their rows fit
into the batch, a cancel before the next step, and every exception as a `Failed` event. It
imports no torch.
"""

import importlib
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

from t2ui.config import WorkerConfig
from t2ui.errors import InputError
from t2ui.messages import Ask, Begun, Cancel, Done, Event, Failed, Queued, Request, Status

HEARTBEAT_SECONDS = 1.0
PROGRESS_SECONDS = 0.1  # between two reports with the same text
SHORT_PER_TURN = 4  # so that many sliders at once cannot hold up the answers that stream

Envelope = tuple[str, Any]  # (job id, event); the id is "" for what concerns the worker itself
Send = Callable[[str, Any], None]
Progress = Callable[[str, float | None], None]


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

    def stop(self, job_id: str) -> list[Event]:
        """Take an ask out of the batch; its last events, none if it is not there."""

    def clear(self) -> list[str]:
        """Empty the batch after a failed step; the job ids that were in it."""

    def free_memory(self) -> None:
        """Give back what the device can spare, after it ran out of memory."""


class Loop:
    """The requests that wait and the batch that decodes. Not thread-safe; sends nothing itself."""

    def __init__(self, backend: Backend, config: WorkerConfig) -> None:
        self._backend = backend
        self._max_rows = config.max_rows
        self._max_queue = config.max_queue
        self._short: deque[tuple[str, Request]] = deque()
        self._asks: deque[tuple[str, Ask]] = deque()
        self._said: dict[str, int] = {}  # the last place in the queue that a waiting ask was told
        self._out: list[Envelope] = []

    @property
    def idle(self) -> bool:
        return not (self._short or self._asks or self._out or self._backend.asks)

    @property
    def running(self) -> int:
        return self._backend.asks

    @property
    def queued(self) -> int:
        return len(self._asks)

    def take(self, job_id: str, message: Request | Cancel) -> None:
        """Accept a request or a cancel; what is to be said about it comes with the next turn."""
        if isinstance(message, Cancel):
            self._cancel(job_id)
            return
        waiting = self._asks if isinstance(message, Ask) else self._short
        if len(waiting) >= self._max_queue:
            self._out.append((job_id, _busy(len(waiting))))
        else:
            waiting.append((job_id, message))

    def turn(self) -> Iterator[Envelope]:
        """Some short requests, at most one new ask, one decode step."""
        yield from self._flush()
        for _ in range(min(SHORT_PER_TURN, len(self._short))):
            yield from self._answer(*self._short.popleft())
        if self._asks and self._fits(self._asks[0][1]):
            job_id, ask = self._asks.popleft()
            self._said.pop(job_id, None)
            yield from self._start(job_id, ask)
        for place, (job_id, _) in enumerate(self._asks):
            if self._said.get(job_id) != place:
                self._said[job_id] = place
                yield job_id, Queued(place)
        if self._backend.asks:
            yield from self._step()

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
            # the step left no one's cache in a known state: every ask in the batch ends here
            failed = self._failed(error)
            for job_id in self._backend.clear():
                yield job_id, failed

    def _cancel(self, job_id: str) -> None:
        for waiting in (self._short, self._asks):
            for entry in [entry for entry in waiting if entry[0] == job_id]:
                waiting.remove(entry)
                self._said.pop(job_id, None)
                self._out.append((job_id, Done(cancelled=True)))
        self._out += [(job_id, event) for event in self._backend.stop(job_id)]

    def _failed(self, error: Exception) -> Failed:
        if _is_out_of_memory(error):
            self._backend.free_memory()
        return failure(error)


def failure(error: Exception) -> Failed:
    """An exception as data. One that nobody expected is also printed with its traceback."""
    if isinstance(error, InputError):
        return Failed(str(error))
    traceback.print_exception(error, file=sys.stderr)
    if _is_out_of_memory(error):
        return Failed(
            "The device ran out of memory.", "Ask for a shorter answer, or run fewer rows at once."
        )
    return Failed(
        f"Something went wrong here: {type(error).__name__}: {error}",
        "Try again; the terminal that started the app shows where it happened.",
    )


def _is_out_of_memory(error: Exception) -> bool:
    # by name and text: CUDA, MPS and the CPU allocator agree on neither a class nor a module
    text = str(error).lower()
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or isinstance(error, RuntimeError)
        and ("out of memory" in text or "can't allocate memory" in text)
    )


def _busy(waiting: int) -> Failed:
    return Failed(f"The model is busy: {waiting} requests wait already.", "Try again in a minute.")


class Pulse:
    """The worker's state: sent when it changes, and every second so that silence means trouble."""

    def __init__(self, model: str, send: Send) -> None:
        self._send = send
        self._status = Status("loading", model, "", "starting")
        self._sent_at = 0.0
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="t2ui-heartbeat", daemon=True).start()

    def progress(self, detail: str, fraction: float | None = None) -> None:
        """Say what is being loaded; `fraction` in [0, 1] or None."""
        now = time.monotonic()
        if detail != self._status.detail or now - self._sent_at > PROGRESS_SECONDS:
            self._sent_at = now
            self._set(Status("loading", self._status.model, "", detail, fraction))

    def working(self, backend: Backend, running: int, queued: int) -> None:
        """Say how many asks are being decoded, and how many wait."""
        state = "busy" if running or queued else "ready"
        self._set(Status(state, backend.name, backend.device, running=running, queued=queued))

    def stop(self) -> None:
        self._stopped.set()

    def _set(self, status: Status) -> None:
        if status != self._status:
            self._status = status
            self._send("", status)

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            self._send("", self._status)


def serve(
    config: WorkerConfig,
    backend: str | Callable[..., Backend],
    inbox: queue.SimpleQueue,  # (job id, Request | Cancel), or None to stop
    send: Send,
    borrow: Callable[[Any], Any] | None = None,
) -> None:
    """Load, then serve until None comes. A failure to load is sent as ("", Failed), and ends it.

    `borrow` decorates a generator function that needs the device. It is for ZeroGPU, which runs
    every call in a fork: what waits goes in as arguments and events come out, until all of it is
    answered; what arrives meanwhile, cancels too, waits for the next call.
    """
    loaded: list[Backend] = []

    def burst(messages: list[tuple[str, Any]]) -> Iterator[Envelope]:
        loop = Loop(loaded[0], config)
        for job_id, message in messages:
            loop.take(job_id, message)
        while not loop.idle:
            yield from loop.turn()

    borrowed = borrow and borrow(burst)  # before loading: ZeroGPU looks for it at start-up
    pulse = Pulse(config.model, send)
    try:
        try:
            loaded.append(_resolve(backend)(config, pulse.progress))
        except Exception as error:
            send("", failure(error))
            return
        if borrowed:
            _serve_bursts(borrowed, loaded[0], inbox, send, pulse)
        else:
            _serve_loop(Loop(loaded[0], config), loaded[0], inbox, send, pulse)
    finally:
        pulse.stop()


def _serve_loop(
    loop: Loop, backend: Backend, inbox: queue.SimpleQueue, send: Send, pulse: Pulse
) -> None:
    while True:
        pulse.working(backend, loop.running, loop.queued)
        messages = _read(inbox, block=loop.idle)
        if None in messages:
            return
        for job_id, message in messages:
            loop.take(job_id, message)
        pulse.working(backend, loop.running, loop.queued)
        for envelope in loop.turn():
            send(*envelope)


def _serve_bursts(
    borrowed: Callable[[list[tuple[str, Any]]], Iterator[Envelope]],
    backend: Backend,
    inbox: queue.SimpleQueue,
    send: Send,
    pulse: Pulse,
) -> None:
    while True:
        pulse.working(backend, 0, 0)
        messages = _read(inbox, block=True)
        if None in messages:
            return
        pulse.working(backend, len(messages), 0)
        try:
            for envelope in borrowed(messages):
                send(*envelope)
        except Exception as error:  # the Space's quota is spent, or its fork died
            for job_id, _ in messages:
                send(job_id, failure(error))


def _read(inbox: queue.SimpleQueue, block: bool) -> list[Any]:
    """Everything that waits in the inbox; with `block` at least one message."""
    messages = [inbox.get()] if block else []
    while True:
        try:
            messages.append(inbox.get_nowait())
        except queue.Empty:
            return messages


def _resolve(backend: str | Callable[..., Backend]) -> Callable[..., Backend]:
    """The function that a name like "package.module:function" stands for."""
    if not isinstance(backend, str):
        return backend
    module, function = backend.split(":")
    return getattr(importlib.import_module(module), function)


def main(config: WorkerConfig, backend: str | Callable[..., Backend], requests, events) -> None:
    """The worker process. `requests` and `events` are its ends of two pipes to the client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; we end with its pipe
    inbox: queue.SimpleQueue = queue.SimpleQueue()
    threading.Thread(
        target=_receive, args=(requests, inbox), name="t2ui-receive", daemon=True
    ).start()
    lock = threading.Lock()

    def send(job_id: str, message: Any) -> None:
        try:
            with lock:
                events.send((job_id, message))
        except OSError:
            os._exit(0)  # nobody listens any more

    serve(config, backend, inbox, send)


def _receive(requests, inbox: queue.SimpleQueue) -> None:
    """Keep the pipe empty, also while the model loads; end the process when the client is gone."""
    try:
        while True:
            inbox.put(requests.recv())
    except (EOFError, OSError):
        os._exit(0)
