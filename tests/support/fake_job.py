"""A job of the worker's double: events on a timetable, which can be held, steered and cancelled."""

import threading
import time
import uuid
from dataclasses import replace

from t2ui.messages import (
    Compared,
    Done,
    Failed,
    Generation,
    NextTokens,
    Steered,
    Swept,
    Tokens,
    Tried,
)


class FakeJob:
    """Events with the time at which each is due; `cancel` ends it at once."""

    def __init__(self, timetable, client, found=None):
        self.id = uuid.uuid4().hex
        self._found = found  # (events handed out) -> the events that a cancel ends it with
        self._said = []
        self.steers = False  # it is a Steer
        self.finished = False
        self._start = None  # its clock starts when the model is there
        self._timetable = list(timetable)
        self._client = client
        self._lock = threading.Lock()

    def next(self, timeout=0.25):
        end = time.monotonic() + timeout
        while not self.finished:
            with self._lock:
                if self._start is None and not self._client.loading:
                    self._start = time.monotonic()
                if self._timetable and self._start is not None and not self._held():
                    due, event = self._timetable[0]
                    if time.monotonic() - self._start >= due:
                        self._timetable.pop(0)
                        self._said.append(event)
                        if isinstance(event, (Done, Failed)):
                            self.finished = True
                            self._client.open_jobs.discard(self.id)
                        return event
            if time.monotonic() >= end:
                return None
            time.sleep(0.002)
        return None

    def steered(self, mixture):
        """Another mixture from the next token on; whether there is one."""
        with self._lock:
            coming = [event for _, event in self._timetable]
            if self._start is None or not any(isinstance(e, Tokens) for e in coming):
                return False
            written = [e for e in self._said if isinstance(e, Tokens) and e.pane == "adapted"]
            place = max(1, sum(len(e.pieces) for e in written))
            told = Steered(place, mixture, 1 - sum(mixture.values()))
            rest = [(at, e) for at, e in self._timetable if not isinstance(e, Compared)]
            due, done = rest.pop()
            change = {**done.receipt, "timeline": [*done.receipt["timeline"], [place, mixture]]}
            self._timetable = [(0.0, told), *rest, (due, replace(done, receipt=change))]
            return True

    def _held(self):
        if self.steers and self._client.hold_steer:
            return True
        if self._client.hold_text and isinstance(self._timetable[0][1], Tokens):
            return len([e for e in self._said if isinstance(e, Tokens)]) >= self._client.hold_text
        said = {type(event) for event in self._said}
        uncompared = Tokens in said and Compared not in said
        held = {Done: self._client.hold_end and (uncompared or Tried in said)}
        held |= {
            Compared: self._client.hold_end,
            Swept: self._client.hold_end,
            NextTokens: self._client.hold_next,
        }
        if held.get(type(self._timetable[0][1])):
            return True
        generations = sum(isinstance(event, Generation) for event in self._said)
        return self._client.hold_after is not None and generations >= self._client.hold_after

    def cancel(self):
        with self._lock:
            self._held = lambda: False
            self._client.cancelled.append(self.id)
            self._client.open_jobs.discard(self.id)
            last = self._found(self._said) if self._found else []
            self._timetable = [(0.0, event) for event in (*last, Done(cancelled=True))]
            self._start = self._start or 0.0
