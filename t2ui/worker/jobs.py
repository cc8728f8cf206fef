"""The open requests of one client: `Job`, what a caller holds, and `OpenJobs`, which keeps them.

`OpenJobs` knows which requests the worker has started, which still wait, and the worker's state; it
decides how each ends when the worker crashes, fails to load, or is closed. It knows no process and
no pipe (`t2ui.worker.client` has those), and every method may be called from any thread.
"""

import dataclasses
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator

from t2ui.messages import (
    Begun,
    Cancel,
    Done,
    Event,
    ExpertDeleted,
    Experts,
    ExpertSaved,
    Failed,
    Queued,
    Request,
    SessionEnded,
    Status,
    owner_of,
)

RETRY_SECONDS = 30.0  # a request this long after a failed start tries to start again

STOPPED = Failed("The model worker stopped unexpectedly.", "It is restarting; ask again.", "worker")
CLOSED = Failed("The model worker was closed.", "Start the app again.", "worker")


class Job:
    """One request. `finished` once its last event, Done or Failed, was handed out."""

    def __init__(self, job_id: str, request: Request, cancel: Callable[[str], None]) -> None:
        self.id = job_id
        self.request = request
        self.finished = False
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._cancel = cancel

    def next(self, timeout: float = 0.25) -> Event | None:
        """The next event; None when none came within `timeout` seconds, or after the last."""
        if self.finished:
            return None
        try:
            event = self._events.get(timeout=timeout)
        except queue.Empty:
            return None
        if isinstance(event, (Done, Failed)):
            self.finished = True
        return event

    def events(self) -> Iterator[Event]:
        """Every event up to Done or Failed, which comes last. Blocks while there is none."""
        while not self.finished:
            event = self.next(timeout=1.0)
            if event is not None:
                yield event

    def cancel(self) -> None:
        """Stop it. The last event is then Done(cancelled=True), unless it ended before."""
        self._cancel(self.id)

    def put(self, event: Event) -> None:
        """For the client: hand an event to whoever reads this job."""
        self._events.put(event)


class OpenJobs:
    """The open jobs and the worker's state, the same for every transport.

    `outbox` is what the running worker reads from: (job id, Request | Cancel), None to stop.
    Unstarted requests are re-queued after a crash; started ones fail.
    """

    def __init__(self, model: str) -> None:
        self._changed = threading.Condition()
        self._open: dict[str, Job] = {}
        self._begun: set[str] = set()
        self._outbox: queue.SimpleQueue | None = None
        self._status = Status("loading", model, "", "not started yet")
        self._experts: dict[str, Experts] = {}  # the last list of each session, "" everybody's
        self._restarting = False
        self._restarts = 0
        self._failure: Failed | None = None
        self._failed_at = 0.0
        self._wanted = False
        self.closed = False

    def submit(self, request: Request) -> Job:
        """Open a job and hand its request to the worker, if there is one."""
        job = Job(uuid.uuid4().hex, request, self.cancel)
        with self._changed:
            if self.closed:
                job.put(CLOSED)
                return job
            if self._failure and time.monotonic() - self._failed_at < RETRY_SECONDS:
                job.put(self._failure)
                return job
            if self._status.state not in ("ready", "busy"):
                job.put(Queued(len(self._open)))
            self._open[job.id] = job
            if self._outbox is not None:
                self._outbox.put((job.id, request))
            self._want()
        return job

    def cancel(self, job_id: str) -> None:
        """Stop a job: at once if it is unstarted, else when the worker says that it stopped."""
        with self._changed:
            job = self._open.get(job_id)
            if job is None:
                return
            if self._outbox is not None:
                self._outbox.put((job_id, Cancel()))
            if job_id not in self._begun:  # unstarted: no need to wait for the worker
                self._end(job, Done(cancelled=True))

    def receive(
        self, job_id: str, message: Event | Begun | Status | Experts | SessionEnded
    ) -> None:
        """What the worker sent. The job id is "" for what it says of itself: its Status, a list of
        experts, or Failed: it could not load."""
        if isinstance(message, Status):
            self._receive_status(message)
        elif isinstance(message, (Experts, SessionEnded)):
            self._receive_experts(message)
        elif isinstance(message, Failed) and job_id == "":
            self.fail(message)
        else:
            with self._changed:
                job = self._open.get(job_id)  # None: it was cancelled meanwhile
                if job is None:
                    return
                if isinstance(message, (ExpertSaved, ExpertDeleted)):
                    self._experts[message.experts.session] = message.experts
                if isinstance(message, Begun):
                    self._begun.add(job_id)
                elif isinstance(message, (Done, Failed)):
                    self._end(job, message)
                else:
                    job.put(message)

    def attach(self, outbox: queue.SimpleQueue) -> None:
        """A new worker reads from `outbox`: re-queue every open request."""
        with self._changed:
            self._outbox = outbox
            for job in self._open.values():
                outbox.put((job.id, job.request))

    def lost(self) -> None:
        """The worker crashed: started requests fail, the others wait for the next worker."""
        with self._changed:
            self._outbox = None
            for job_id in self._begun & self._open.keys():
                self._end(self._open[job_id], STOPPED)
            self._begun.clear()
            self._restarting = True
            self._restarts += 1
            self._set("restarting", "starting the model worker again")

    def fail(self, failure: Failed) -> None:
        """The worker cannot start: every open job fails with the reason, and so do new ones for
        RETRY_SECONDS."""
        with self._changed:
            self._outbox = None
            self._wanted = False
            failure = dataclasses.replace(failure, cause="worker")
            self._failure, self._failed_at = failure, time.monotonic()
            self._end_all(failure)
            self._set("failed", str(failure))

    def status(self) -> Status:
        """The worker's state as last heard."""
        status = dataclasses.replace(self._status, restarts=self._restarts)
        if status.state in ("loading", "restarting"):
            return dataclasses.replace(status, queued=len(self._open))
        return status

    def experts(self, session: str = "") -> Experts | None:
        """The last list of experts heard of, the session's own where it has one."""
        experts = self._experts
        return experts.get(owner_of(session)) or experts.get("")

    def wait_ready(self, timeout: float) -> Status:
        """Block until the worker is up or has failed, at most `timeout` seconds."""
        with self._changed:
            if not self._failure and not self.closed:
                self._want()
            self._changed.wait_for(
                lambda: self.closed or self._status.state in ("ready", "busy", "failed"), timeout
            )
        return self.status()

    def want(self) -> None:
        """Ask for a worker."""
        with self._changed:
            self._want()

    def wait_wanted(self) -> bool:
        """Block until somebody wants a worker; False when closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._wanted or self.closed)
            return not self.closed

    def close(self) -> None:
        """End every job and ask the worker to stop."""
        with self._changed:
            self.closed = True
            if self._outbox is not None:
                self._outbox.put(None)
            self._outbox = None
            self._end_all(CLOSED)
            self._changed.notify_all()

    def _receive_status(self, status: Status) -> None:
        with self._changed:
            if self.closed or self._failure:
                return
            if status.state == "loading" and self._restarting:
                status = dataclasses.replace(status, state="restarting")
            elif status.state in ("ready", "busy"):
                self._restarting = False
            self._status = status
            self._changed.notify_all()

    def _receive_experts(self, message: Experts | SessionEnded) -> None:
        with self._changed:
            if isinstance(message, Experts):
                self._experts[message.session] = message
            elif message.session:
                self._experts.pop(message.session, None)

    # the methods below expect the lock to be held

    def _want(self) -> None:
        self._wanted = True
        if self._failure:
            self._failure = None
            self._restarting = False
            self._set("loading", "trying again")
        self._changed.notify_all()

    def _set(self, state: str, detail: str) -> None:
        self._status = Status(state, self._status.model, "", detail)
        self._changed.notify_all()

    def _end(self, job: Job, event: Done | Failed) -> None:
        del self._open[job.id]
        self._begun.discard(job.id)
        job.put(event)

    def _end_all(self, event: Failed) -> None:
        for job in list(self._open.values()):
            self._end(job, event)
