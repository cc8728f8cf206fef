"""How every request is queued and ends, and the worker's own state."""

from dataclasses import dataclass, field
from typing import Any


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


@dataclass(frozen=True)
class Done:
    """The request ended. `cancelled` when it was stopped.

    The receipt replays an Ask: token for token in float32, in 16 bits up to rounding, because the
    app decodes many requests in one batch.
    """

    cancelled: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    receipt: dict[str, Any] | None = None


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
