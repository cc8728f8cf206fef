"""The events of one Ask taken together: the answer so far, for the page and for the API alike."""

from dataclasses import dataclass, replace
from typing import Any

from t2ui.messages.ask import Classified, Compared, Mixed, Reading, Steered, Tokens
from t2ui.messages.worker import Done, Failed, Queued

PANES = ("base", "adapted")


@dataclass(frozen=True)
class Written:
    """What one pane's model has written so far."""

    pieces: tuple[str, ...] = ()
    tokens: int = 0
    seconds: float = 0.0  # of decoding

    @property
    def text(self) -> str:
        return "".join(self.pieces)


@dataclass(frozen=True)
class AnswerSoFar:
    """Plain data; `after` gives the next one. Whole once `done` or `failed` is there."""

    queued: Queued | None = None  # its place in the queue; None: it never waited
    reading: Reading | None = None  # how far a long prompt is read
    steered: tuple[Steered, ...] = ()  # changes of the mixture in mid-answer
    classified: Classified | None = None
    mixed: Mixed | None = None
    base: Written = Written()
    adapted: Written = Written()
    compared: Compared | None = None
    done: Done | None = None
    failed: Failed | None = None

    def after(self, event: object) -> "AnswerSoFar":
        """With one more of the ask's events; events of other kinds change nothing."""
        if isinstance(event, Queued):
            return replace(self, queued=event)
        if isinstance(event, Reading):
            return replace(self, reading=event)
        if isinstance(event, Steered):
            before = [one for one in self.steered if one.token < event.token]
            return replace(self, steered=(*before, event))  # of two at one place the last counts
        if isinstance(event, Classified):
            return replace(self, classified=event)
        if isinstance(event, Mixed):
            return replace(self, mixed=event)
        if isinstance(event, Tokens):
            pieces = (*self.written(event.pane).pieces, *event.pieces)
            written = Written(pieces, event.tokens, event.seconds)
            pane: dict[str, Any] = {event.pane: written}  # of PANES, which are fields
            return replace(self, **pane)
        if isinstance(event, Compared):
            return replace(self, compared=event)
        if isinstance(event, Done):
            return replace(self, done=event)
        if isinstance(event, Failed):
            return replace(self, failed=event)
        return self

    def written(self, pane: str) -> Written:
        """One of PANES."""
        return {"base": self.base, "adapted": self.adapted}[pane]
