"""Request in, stream of events out: `WorkerClient` (own process), `InProcessClient` (ZeroGPU).

Keeps the worker alive: starts it, hands its events to the jobs, and starts it again after a crash.
Unstarted requests are then re-queued; started ones fail with a clear error. Every method may be
called from any thread, and none blocks longer than it says. Knows nothing of models and imports no
torch: `t2ui.worker.process` runs on the other side.
"""

import atexit
import multiprocessing
import os
import queue
import signal
import threading
import time
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from multiprocessing import connection, process, resource_tracker
from typing import Any, TypeVar

from t2ui.config import WorkerConfig
from t2ui.messages import Experts, Failed, Request, Status
from t2ui.worker.jobs import Job, OpenJobs

__all__ = ["InProcessClient", "Job", "WorkerClient", "connect"]

# By name: only the worker imports it, and torch with it.
BACKEND = "t2ui.backend.serving:load_backend"
MAX_DEATHS = 3  # in a row before it was ready; then it is not started again by itself
SILENCE_SECONDS = 60.0  # a worker without a heartbeat for so long is taken to hang, and killed
JOIN_SECONDS = 5.0

Backend = str | Callable[..., Any]  # "module:function", or a function that pickles
AnyClient = TypeVar("AnyClient", bound="_Client")


class _Client(ABC):
    """What both transports share: the open jobs, and a thread that has them answered."""

    def __init__(self, config: WorkerConfig, start: bool = True, backend: Backend = BACKEND):
        """Start the worker, or with `start=False` wait with that for the first request."""
        self._config = config
        self._backend = backend
        self._jobs = OpenJobs(config.model)
        self._thread = threading.Thread(target=self._run, name="t2ui-client", daemon=True)
        if start:
            self._jobs.want()
        self._thread.start()

    @abstractmethod
    def _run(self) -> None:
        """Have jobs answered, in the client's own thread, until the jobs are closed."""

    def submit(self, request: Request) -> Job:
        """Send a request; returns at once."""
        return self._jobs.submit(request)

    def status(self) -> Status:
        """The worker's state as last heard; never blocks."""
        return self._jobs.status()

    def experts(self, session: str = "") -> Experts | None:
        """The experts there are, for a session or for all, as last heard; None before that."""
        return self._jobs.experts(session)

    def wait_ready(self, timeout: float) -> Status:
        """Block until the worker is ready or has failed, at most `timeout` seconds."""
        return self._jobs.wait_ready(timeout)

    def close(self) -> None:
        """End the worker, and every open job with it."""
        self._jobs.close()
        if threading.current_thread() is not self._thread:
            self._thread.join(2 * JOIN_SECONDS)

    def __enter__(self: AnyClient) -> AnyClient:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


class WorkerClient(_Client):
    """The worker in a process of its own (spawn), started again when it dies."""

    def __init__(self, config: WorkerConfig, start: bool = True, backend: Backend = BACKEND):
        self._pid: int | None = None
        atexit.register(self.close)
        super().__init__(config, start, backend)

    @property
    def pid(self) -> int | None:
        """Process id of the worker; None while there is none."""
        return self._pid

    def close(self) -> None:
        """End the worker, and every open job with it."""
        atexit.unregister(self.close)
        super().close()

    def _run(self) -> None:
        """Supervise one worker after another."""
        _spare_children_ctrl_c()
        deaths = 0
        while self._jobs.wait_wanted():
            try:
                exit_code, was_ready = self._live()
            except Exception as error:  # no memory for a process, a script without a main guard
                self._jobs.fail(Failed(f"The model worker could not be started: {error}"))
                continue
            if self._jobs.closed or self._jobs.status().state == "failed":
                deaths = 0
                continue
            deaths = 0 if was_ready else deaths + 1
            if deaths < MAX_DEATHS:
                self._jobs.lost()
            else:
                deaths = 0
                self._jobs.fail(
                    Failed(
                        f"The model worker died {MAX_DEATHS} times while loading "
                        f"{self._config.model} (exit code {exit_code}).",
                        "See its messages in the terminal. Code -9 mostly means too little "
                        "memory: free some, or choose a smaller model.",
                    )
                )

    def _live(self) -> tuple[int | None, bool]:
        """One worker from start to end: its exit code, and whether it was ever ready."""
        from_client, to_worker = multiprocessing.Pipe(duplex=False)
        from_worker, to_client = multiprocessing.Pipe(duplex=False)
        worker = multiprocessing.get_context("spawn").Process(
            target=_run_worker,
            args=(self._config, self._backend, from_client, to_client),
            name="t2ui-worker",
            daemon=True,
        )
        try:
            worker.start()
        except BaseException:
            for end in (to_worker, from_worker):
                end.close()
            raise
        finally:
            # our copies of the worker's ends: while they are open, neither side sees the other die
            from_client.close()
            to_client.close()
        self._pid = worker.pid
        outbox: queue.SimpleQueue = queue.SimpleQueue()
        threading.Thread(
            target=_send, args=(outbox, to_worker, self._jobs), name="t2ui-send", daemon=True
        ).start()
        self._jobs.attach(outbox)
        try:
            was_ready = self._listen(worker, from_worker)
        finally:
            self._pid = None
            outbox.put(None)
            worker.join(JOIN_SECONDS)
            if worker.is_alive():
                worker.kill()
                worker.join()
            from_worker.close()
        return worker.exitcode, was_ready

    def _listen(self, worker: process.BaseProcess, events: connection.Connection) -> bool:
        """Give the worker's events to the jobs until it ends; whether it was ever ready."""
        was_ready = False
        heard = time.monotonic()
        while True:
            ready = connection.wait([events, worker.sentinel], timeout=1.0)
            if events in ready:  # first, so that what it sent before it died is not lost
                try:
                    job_id, message = events.recv()
                except (EOFError, OSError):
                    return was_ready
                heard = time.monotonic()
                was_ready = was_ready or getattr(message, "state", "") in ("ready", "busy")
                self._jobs.receive(job_id, message)
            elif ready:
                return was_ready
            elif time.monotonic() - heard > SILENCE_SECONDS:
                worker.kill()
                return was_ready


class InProcessClient(_Client):
    """The worker in a thread of this process, for ZeroGPU and for tests; the same interface."""

    def __init__(self, config: WorkerConfig, start: bool = True, backend: Backend = BACKEND):
        self._borrow = _borrow_gpu()
        super().__init__(config, start, backend)

    def _run(self) -> None:
        """Serve in this thread, again after a crash."""
        while self._jobs.wait_wanted():
            # here, in its thread: importing this module stays light
            from t2ui.worker import process as worker

            inbox: queue.SimpleQueue = queue.SimpleQueue()
            self._jobs.attach(inbox)
            try:
                worker.serve(self._config, self._backend, inbox, self._jobs.receive, self._borrow)
            except Exception:  # a bug, of which a process of its own would die
                traceback.print_exc()
                self._jobs.lost()


def connect(config: WorkerConfig, backend: Backend = BACKEND) -> WorkerClient | InProcessClient:
    """The client for this place: in process on ZeroGPU, where no other process may hold the GPU."""
    if os.environ.get("SPACES_ZERO_GPU"):
        return InProcessClient(config, backend=backend)
    return WorkerClient(config, backend=backend)


def _run_worker(config: WorkerConfig, backend: Backend, requests: Any, events: Any) -> None:
    """The worker process's first function, here so that the parent need not import `process`."""
    from t2ui.worker import process as worker

    worker.main(config, backend, requests, events)


def _send(outbox: queue.SimpleQueue, requests: connection.Connection, open_jobs: OpenJobs) -> None:
    """Pass messages on until None. Its own thread, because a full pipe blocks the sender."""
    with requests:
        while (message := outbox.get()) is not None:
            try:
                requests.send(message)
            except OSError:  # the worker died; whoever listens to it sees that too
                return
            except Exception as error:  # a request that does not pickle
                open_jobs.receive(message[0], Failed(f"The request could not be sent: {error}."))


def _spare_children_ctrl_c() -> None:
    """Block SIGINT in the calling thread, so that processes it starts never see it.

    Ctrl-C reaches the whole process group; the worker would print a traceback if it came before
    it can ignore the signal. The tracker process is started first because starting it unblocks.
    """
    if hasattr(signal, "pthread_sigmask"):
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _borrow_gpu() -> Callable[[Any], Any] | None:
    """`spaces.GPU` on a ZeroGPU Space, else None.

    ZeroGPU lends the GPU to a decorated generator, which runs in a fork for the length of one
    call: see `worker.serve`. This path could not be run on the machines this was written on; it
    is kept to this function and one in the worker.
    """
    if not os.environ.get("SPACES_ZERO_GPU"):
        return None
    try:
        import spaces
    except ImportError:
        return None
    return spaces.GPU(duration=120)
