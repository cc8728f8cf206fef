"""A generator in its own process, asked for rows and scores. See `inside/child.py`."""

import json
import os
import queue
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from t2ui.errors import InputError

CHILD = Path(__file__).with_name("inside") / "child.py"
STARTING = 300.0  # seconds until a generator is there; the slowest reads its data for fifteen
MAKING = 180.0  # seconds for a row
SCORING = 20.0  # seconds for an answer


class TooLong(Exception):
    """No reply in time; the process was ended."""


@dataclass(frozen=True)
class Made:
    """A row: `answer` is None where there is only a scorer."""

    question: str
    answer: str | None


class Generator:
    """A generator of reasoning_gym with its settings, for any thread.

    Args:
        kind: its name there, "chain_sum".
        typed: settings as people type them, "max_terms=3".

    Raises:
        InputError: the package, one that it needs, the generator or a setting is not there.
    """

    def __init__(self, kind: str, typed: list[str]):
        self.kind, self.typed = kind, typed
        self._lock = threading.Lock()
        self._child = _Child()
        weakref.finalize(self, _end, self._child)
        try:
            facts = self._asked({"name": kind, "settings": typed}, STARTING)
        except TooLong:
            raise InputError(
                f"rg:{kind} did not start: its process ended, or took more than {STARTING:.0f} s. "
                "Free some memory, or choose other settings."
            ) from None
        self.settings: list[str] = facts["settings"]  # as typed, without those at their default
        self.version: str = facts["version"]  # of reasoning_gym

    @property
    def name(self) -> str:
        """As people type it, settings at their default left out."""
        return ":".join(["rg", self.kind, *self.settings])

    def row(self, index: int) -> Made | str:
        """The row of an index, the same in every process; or why it is none.

        Raises:
            InputError: it takes minutes, or a package is missing.
        """
        with self._lock:
            try:
                found = self._answered({"row": index}, MAKING)
            except TooLong:
                raise InputError(
                    f"{self.name} made no row in {MAKING:.0f} s: choose easier settings."
                ) from None
        if "skipped" in found:
            return str(found["skipped"])
        return Made(found["question"], found["answer"])

    def score(self, index: int, readings: list[str]) -> float:
        """The best score of these readings of an answer to a row, from 0 to 1; 0 where the scorer
        fails or takes too long."""
        with self._lock:
            try:
                return float(self._answered({"row": index, "score": readings}, SCORING)["score"])
            except TooLong:
                return 0.0

    def _answered(self, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
        """The reply of a process that knows the row: started again where it is gone."""
        if not self._child.is_there():
            self._asked({"name": self.kind, "settings": self.typed}, STARTING)
            if "score" in asked:  # which makes the row first: not in the time for its score
                self._asked({"row": asked["row"]}, MAKING)
        return self._asked(asked, seconds)

    def _asked(self, asked: dict[str, Any], seconds: float) -> dict[str, Any]:
        reply = self._child.asked(json.dumps(asked), seconds)
        if "refused" in reply:
            raise InputError(reply["refused"])
        return reply


class _Child:
    """The process. `process` is None before its start and where it was ended."""

    def __init__(self) -> None:
        self.process: subprocess.Popen[str] | None = None
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def is_there(self) -> bool:
        """Whether it runs; one that was ended by something else is put away."""
        if self.process is not None and self.process.poll() is not None:
            _end(self)
        return self.process is not None

    def asked(self, line: str, seconds: float) -> dict[str, Any]:
        process = self.process or self._started()
        assert process.stdin is not None, "it was started with pipes"
        try:
            process.stdin.write(line + "\n")
            process.stdin.flush()
            reply = self.lines.get(timeout=seconds)
        except queue.Empty:
            _end(self)
            raise TooLong from None
        except BrokenPipeError:
            reply = ""
        except BaseException:  # Ctrl-C: the reply that is still to come is nobody's
            _end(self)
            raise
        if not reply:  # it died of what it was asked: of its memory, say
            _end(self)
            raise TooLong
        found: dict[str, Any] = json.loads(reply)
        return found

    def _started(self) -> subprocess.Popen[str]:
        self.lines = queue.SimpleQueue()
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1"},
            start_new_session=True,  # Ctrl-C is for the process that asks
        )
        reading = threading.Thread(
            target=_read, args=(self.process.stdout, self.lines), daemon=True
        )
        reading.start()
        return self.process


def _read(lines: IO[str], into: "queue.SimpleQueue[str]") -> None:
    """Pass lines on; an empty one at the end."""
    for line in lines:
        into.put(line)
    into.put("")


def _end(child: _Child) -> None:
    process, child.process = child.process, None
    if process is not None:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was still to be written has no reader
                    continue
