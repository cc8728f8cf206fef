"""What an operator watches, as Prometheus reads it (text format 0.0.4). Every door counts here."""

import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from t2ui.messages import Status

TYPE = "text/plain; version=0.0.4; charset=utf-8"
SECONDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STATES = ("loading", "ready", "busy", "restarting", "failed")

Labels = tuple[tuple[str, str], ...]
Values = dict[Labels, int]


@dataclass
class Histogram:
    """How many values were at most so large, their sum, and their number."""

    counts: list[int] = field(default_factory=lambda: [0] * len(SECONDS))
    total: float = 0.0
    number: int = 0

    def see(self, value: float) -> None:
        for place, bound in enumerate(SECONDS):
            self.counts[place] += value <= bound
        self.total += value
        self.number += 1


class Metrics:
    """Counts from all threads; `text` is the page that Prometheus reads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: Counter[Labels] = Counter()
        self._answers: Counter[str] = Counter()  # by how they ended
        self._tokens: Counter[str] = Counter()  # read, written
        self._first = Histogram()
        self._whole = Histogram()

    def request(self, kind: str, status: int) -> None:
        """A response was sent."""
        with self._lock:
            self._requests[("kind", kind), ("status", str(status))] += 1

    def first_token(self, seconds: float) -> None:
        """An answer's first text came so long after it was asked for, waiting included."""
        with self._lock:
            self._first.see(seconds)

    def answer(self, ended: str, seconds: float, read: int = 0, written: int = 0) -> None:
        """An answer ended: done, cancelled or failed."""
        with self._lock:
            self._answers[ended] += 1
            self._whole.see(seconds)
            self._tokens["read"] += read
            self._tokens["written"] += written

    def text(self, status: Status, under_way: int) -> str:
        """All of it, with the worker's state as last heard.

        Args:
            under_way: requests that the door has let in and that have not ended.
        """
        with self._lock:
            lines = [*self._counted(), *_gauges(status, under_way)]
        return "\n".join(lines) + "\n"

    def _counted(self) -> Iterator[str]:
        by_kind: Values = dict(self._requests)
        yield from _family("t2ui_requests_total", "counter", "Responses sent.", by_kind)
        ended: Values = {(("ended", how),): count for how, count in self._answers.items()}
        yield from _family("t2ui_answers_total", "counter", "Answers that ended.", ended)
        tokens: Values = {(("kind", kind),): count for kind, count in self._tokens.items()}
        yield from _family("t2ui_tokens_total", "counter", "Tokens of prompts and answers.", tokens)
        about = "Seconds from asking to the first text, waiting included."
        yield from _histogram("t2ui_first_token_seconds", about, self._first)
        yield from _histogram("t2ui_answer_seconds", "Seconds of whole answers.", self._whole)


def _gauges(status: Status, under_way: int) -> Iterator[str]:
    states: Values = {(("state", one),): int(one == status.state) for one in STATES}
    yield from _family("t2ui_worker_state", "gauge", "1 for the worker's state.", states)
    gauges = {
        "t2ui_under_way": ("Requests let in that have not ended.", under_way),
        "t2ui_running": ("Answers and searches that the worker is at.", status.running),
        "t2ui_queue": ("Answers and searches that wait.", status.queued),
        "t2ui_batch_rows": ("Rows of the worker's batch.", status.rows),
        "t2ui_worker_memory_bytes": ("Memory that the worker holds.", status.memory),
    }
    for name, (about, value) in gauges.items():
        yield from _family(name, "gauge", about, {(): value})
    restarts: Values = {(): status.restarts}
    about = "Times that the worker died and was started again."
    yield from _family("t2ui_worker_restarts_total", "counter", about, restarts)


def _family(name: str, kind: str, about: str, values: Values) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} {kind}"
    for labels, value in values.items():
        yield f"{name}{_labelled(labels)} {value}"


def _histogram(name: str, about: str, seen: Histogram) -> Iterator[str]:
    yield f"# HELP {name} {about}"
    yield f"# TYPE {name} histogram"
    for bound, count in zip(SECONDS, seen.counts, strict=True):
        yield f'{name}_bucket{{le="{bound:g}"}} {count}'
    yield f'{name}_bucket{{le="+Inf"}} {seen.number}'
    yield f"{name}_sum {seen.total:.6f}"
    yield f"{name}_count {seen.number}"


def _labelled(labels: Labels) -> str:
    """Their values are words of this program: nothing in them needs escaping."""
    inside = ",".join(f'{name}="{value}"' for name, value in labels)
    return f"{{{inside}}}" if inside else ""
