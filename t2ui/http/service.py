"""What stands behind the door: the worker's client, and what is written down of every answer."""

import time
from dataclasses import dataclass, field

from t2ui.http.audit import Audit
from t2ui.http.drain import Drain
from t2ui.http.limits import Limits
from t2ui.http.metrics import Metrics
from t2ui.http.tenants import Tenants
from t2ui.messages import Ask, Done, Event, Experts, Failed, Mixed, Request, Status, Tokens
from t2ui.receipts import Receipts
from t2ui.ui.shared.listen import Client, Job
from t2ui.workshop.live import Workshop


@dataclass
class Service:
    """One server. `tenants`, `receipts`, `workshop` None: no keys, no receipts kept, no seats."""

    worker: Client
    limits: Limits = field(default_factory=Limits)
    tenants: Tenants | None = None
    receipts: Receipts | None = None
    workshop: Workshop | None = None
    metrics: Metrics = field(default_factory=Metrics)
    drain: Drain = field(default_factory=Drain)

    def __post_init__(self) -> None:
        self._audit = Audit(self.tenants) if self.tenants else None

    @property
    def client(self) -> "RecordingClient":
        """The worker's client for every door: its answers are written down."""
        return RecordingClient(self.worker, self)

    def asked(self, ask: Ask) -> None:
        """A question is on its way."""
        if self.workshop:
            self.workshop.seats.asked(ask.session, ask.prompt)

    def mixed(self, ask: Ask, event: Mixed) -> None:
        """The mixture of an answer is known."""
        if self.workshop:
            self.workshop.seats.mixed(ask.session, ask.prompt, event.mixture)

    def first_token(self, seconds: float) -> None:
        """The first text of an answer came."""
        self.metrics.first_token(seconds)

    def ended(self, job: "RecordedJob", ask: Ask, event: Done | Failed, seconds: float) -> None:
        """An answer ended: count it, keep its receipt, and write it into its tenant's log."""
        done = event if isinstance(event, Done) else Done()
        endings, receipt = done.endings, done.receipt
        how = "cancelled" if done.cancelled else "done" if done is event else "failed"
        adapted = [one for one in endings if one.pane == "adapted"]
        read = adapted[0].prompt_tokens if adapted else 0
        written = sum(one.tokens for one in endings)
        self.metrics.answer(how, seconds, read, written)
        if self.workshop and how == "done":
            self.workshop.seats.answered(ask.session, ask.prompt, job.text)
        if self._audit:
            self._audit.write(job.id, ask, how, receipt, written)
        if self.receipts is not None and receipt and how == "done":
            self.receipts.put(job.id, receipt, [one.sha256 for one in adapted])


class RecordingClient:
    """A worker's client that tells a service how its answers end."""

    def __init__(self, client: Client, service: Service) -> None:
        self._client, self._service = client, service

    def submit(self, request: Request) -> Job:
        """Send a request."""
        job = self._client.submit(request)
        return RecordedJob(job, request, self._service) if isinstance(request, Ask) else job

    def status(self) -> Status:
        """The worker's state."""
        return self._client.status()

    def experts(self, session: str = "") -> Experts | None:
        """The experts that a session sees."""
        return self._client.experts(session)


class RecordedJob:
    """An answer under way, with an eye on its events."""

    def __init__(self, job: Job, ask: Ask, service: Service) -> None:
        self.id = job.id
        self._job, self._ask, self._service = job, ask, service
        self._began = time.monotonic()
        self._spoke = self._told = False
        self._pieces: list[str] = []  # of the adapted answer, in a workshop
        service.asked(ask)

    @property
    def text(self) -> str:
        """The adapted answer so far, for a workshop's board."""
        return "".join(self._pieces)

    @property
    def finished(self) -> bool:
        """Whether its last event was handed out."""
        return self._job.finished

    def next(self, timeout: float = 0.25) -> Event | None:
        """The next event; see `worker.jobs.Job`."""
        event = self._job.next(timeout)
        seconds = time.monotonic() - self._began
        if isinstance(event, Tokens):
            if self._service.workshop and (event.pane, event.sample) == ("adapted", 0):
                self._pieces += event.pieces
            if not self._spoke and not self._ask.whole:  # else its end says when that was
                self._service.first_token(seconds)
            self._spoke = True
        elif isinstance(event, Mixed):
            self._service.mixed(self._ask, event)
        elif isinstance(event, (Done, Failed)):
            if isinstance(event, Done) and self._ask.whole and self._spoke:
                took = event.timings  # seconds, from when it was taken up
                behind = took.get("total", 0.0) - took.get("first_token", 0.0)
                self._service.first_token(max(0.0, seconds - behind))
            self._tell(event)
        return event

    def cancel(self) -> None:
        """Stop it: whoever listened has gone."""
        self._job.cancel()
        self._tell(Done(cancelled=True))

    def _tell(self, event: Done | Failed) -> None:
        if not self._told:
            self._told = True
            self._service.ended(self, self._ask, event, time.monotonic() - self._began)
