"""The process that owns the model: loads it, then serves until its client is gone.

`main` runs in a process of its own and ends when its parent does; `serve` is the same for any
thread. `t2ui.worker.scheduler` decides what is worked on when, the backend what the answer is.
Imports no torch itself.
"""

import dataclasses
import importlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from t2ui.allocator import keep_freed_memory
from t2ui.config import WorkerConfig
from t2ui.messages import Status
from t2ui.worker.scheduler import Backend, Envelope, Scheduler, failure

HEARTBEAT_SECONDS = 1.0
NICE = 5  # behind the page, in the parent: what a click needs there takes milliseconds
PROGRESS_SECONDS = 0.1  # between two reports with the same text
LISTING_SECONDS = 2.0  # how soon a change in the experts folder is noticed

Send = Callable[[str, Any], None]  # job id, event; the id is "" for what concerns the worker


class StatusReporter:
    """Sends the worker's state: when it changes, and every second as a heartbeat."""

    def __init__(self, model: str, send: Send) -> None:
        self._send = send
        self._status = Status("loading", model, "", "starting the model worker")
        self._memory = 0
        self._sent_at = 0.0
        self._stopped = threading.Event()
        threading.Thread(target=self._beat, name="t2ui-heartbeat", daemon=True).start()

    def progress(self, detail: str, fraction: float | None = None) -> None:
        """Report what is being loaded; `fraction` in [0, 1] or None."""
        now = time.monotonic()
        if detail != self._status.detail or now - self._sent_at > PROGRESS_SECONDS:
            self._sent_at = now
            self._set(Status("loading", self._status.model, "", detail, fraction))

    def working(self, backend: Backend, running: int, queued: int, rows: int = 0) -> None:
        """Report how many asks are being decoded, and how many wait."""
        state = "busy" if running or queued else "ready"
        name, device = backend.name, backend.device
        self._set(Status(state, name, device, running=running, queued=queued, rows=rows))

    def stop(self) -> None:
        self._stopped.set()

    def _set(self, status: Status) -> None:
        if status != self._status:
            self._status = status
            self._tell()

    def _beat(self) -> None:
        while not self._stopped.wait(HEARTBEAT_SECONDS):
            self._memory = memory_held()
            self._tell()

    def _tell(self) -> None:
        self._send("", dataclasses.replace(self._status, memory=self._memory))


def serve(
    config: WorkerConfig,
    backend: str | Callable[..., Backend],
    inbox: queue.SimpleQueue,  # (job id, Request | Cancel), or None to stop
    send: Send,
    borrow: Callable[[Any], Any] | None = None,
) -> None:
    """Load, then serve until None comes. A failure to load is sent as ("", Failed), and ends it.

    `borrow` decorates a generator function that needs the device. It is for ZeroGPU, which runs
    every call in a fork: the waiting requests are its arguments, and it yields their events until
    all are answered. What arrives meanwhile, cancels included, waits for the next call.
    """
    loaded: list[Backend] = []

    def burst(messages: list[tuple[str, Any]]) -> Iterator[Envelope]:
        loop = Scheduler(loaded[0], config)
        for job_id, message in messages:
            loop.take(job_id, message)
        while not loop.idle:
            yield from loop.turn()

    borrowed = borrow and borrow(burst)  # before loading: ZeroGPU looks for it at start-up
    reporter = StatusReporter(config.model, send)
    try:
        try:
            loaded.append(_resolve(backend)(config, reporter.progress))
        except Exception as error:
            send("", failure(error))
            return
        if borrowed:
            _serve_bursts(borrowed, loaded[0], inbox, send, reporter)
        else:
            _serve_loop(Scheduler(loaded[0], config), loaded[0], inbox, send, reporter)
    finally:
        reporter.stop()


class ListingReporter:
    """The lists of experts: sent when the worker is ready, and when the folder has changed."""

    def __init__(self, backend: Backend, send: Send) -> None:
        self._backend, self._send = backend, send
        self._looked_at = -LISTING_SECONDS  # monotonic seconds

    def look(self) -> None:
        """Send what has changed, if it is time to look."""
        if time.monotonic() - self._looked_at < LISTING_SECONDS:
            return
        for listing in self._backend.listings():
            self._send("", listing)
        self._looked_at = time.monotonic()


def _serve_loop(
    loop: Scheduler,
    backend: Backend,
    inbox: queue.SimpleQueue,
    send: Send,
    reporter: StatusReporter,
) -> None:
    listings = ListingReporter(backend, send)
    while True:
        listings.look()  # first, so that whoever hears that it is ready knows the experts
        reporter.working(backend, loop.running, loop.queued, loop.rows)
        messages = _read(inbox, LISTING_SECONDS if loop.idle else 0)
        if None in messages:
            return
        for job_id, message in messages:
            loop.take(job_id, message)
        reporter.working(backend, loop.running, loop.queued, loop.rows)
        for envelope in loop.turn():
            send(*envelope)


def _serve_bursts(
    borrowed: Callable[[list[tuple[str, Any]]], Iterator[Envelope]],
    backend: Backend,
    inbox: queue.SimpleQueue,
    send: Send,
    reporter: StatusReporter,
) -> None:
    listings = ListingReporter(backend, send)
    while True:
        listings.look()
        reporter.working(backend, 0, 0)
        messages = _read(inbox, LISTING_SECONDS)
        if None in messages:
            return
        if not messages:
            continue
        reporter.working(backend, len(messages), 0)
        try:
            for envelope in borrowed(messages):
                send(*envelope)
        except Exception as error:  # the Space's quota is spent, or its fork died
            for job_id, _ in messages:
                send(job_id, failure(error))


def memory_held() -> int:
    """Bytes of memory that this process holds now; 0 where the system does not say (no Linux)."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def _read(inbox: queue.SimpleQueue, seconds: float) -> list[Any]:
    """Everything that waits in the inbox; waits at most so long for the first message."""
    messages: list[Any] = []
    while True:
        try:
            messages.append(inbox.get(timeout=seconds) if seconds else inbox.get_nowait())
        except queue.Empty:
            return messages
        seconds = 0


def _resolve(backend: str | Callable[..., Backend]) -> Callable[..., Backend]:
    """The function that a name like "package.module:function" stands for."""
    if not isinstance(backend, str):
        return backend
    module, function = backend.split(":")
    return getattr(importlib.import_module(module), function)


def main(
    config: WorkerConfig,
    backend: str | Callable[..., Backend],
    requests: Connection,
    events: Connection,
) -> None:
    """The worker process. `requests` and `events` are its ends of two pipes to the client."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; we end with its pipe
    if hasattr(os, "nice"):  # not on Windows
        os.nice(NICE)
    keep_freed_memory()
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


def _receive(requests: Connection, inbox: queue.SimpleQueue) -> None:
    """Keep the pipe empty, also while the model loads; end the process when the client is gone."""
    try:
        while True:
            inbox.put(requests.recv())
    except (EOFError, OSError):
        os._exit(0)
