"""How every request is queued and ends, and the worker's own state."""

from dataclasses import dataclass, field
from typing import Any

from t2ui.messages.ask import Ending


@dataclass(frozen=True)
class Queued:
    """`before` asks are before this one; it waits about `seconds`, None where nobody knows yet."""

    before: int
    seconds: float | None = None


@dataclass(frozen=True)
class Failed:
    """The request ended in an error: what happened, and what to do."""

    message: str
    remedy: str = ""
    # whose fault: "input" (the request's), "busy" (too many wait), "worker" (it stopped, or cannot
    # start), "" (a bug, or too little memory)
    cause: str = ""

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


@dataclass(frozen=True)
class Done:
    """The request ended. `cancelled` when it was stopped.

    The receipt replays an Ask: token for token in float32, in 16 bits up to rounding, because the
    app decodes many requests in one batch.
    """

    cancelled: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    receipt: dict[str, Any] | None = None
    endings: tuple[Ending, ...] = ()  # of an Ask's answers


@dataclass(frozen=True)
class Status:
    """The worker's own state, at any time from `client.status()`."""

    state: str  # loading | ready | busy | restarting | failed
    model: str
    device: str  # "" while loading
    detail: str = ""  # what is being loaded, or why it failed and what to do
    progress: float | None = None  # of loading, in [0, 1]
    running: int = 0  # asks being decoded, and the search that runs
    queued: int = 0  # asks and searches waiting
    rows: int = 0  # of the batch: being decoded, or whose prompt is being read
    memory: int = 0  # bytes that the worker's process holds; 0: not known
    restarts: int = 0  # of the worker, after it died


@dataclass(frozen=True)
class Cancel:
    """Between client and worker only: stop a request."""


@dataclass(frozen=True)
class SessionEnded:
    """Between client and worker only: the session has no experts of its own any more."""

    session: str


@dataclass(frozen=True)
class Begun:
    """Between client and worker only: the worker has started on a request.

    Unstarted requests are re-queued after a crash; started ones fail.
    """
