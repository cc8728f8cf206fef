"""How many may be under way at once: answers, next tokens and other work, by session and address.

What runs or waits in Gradio's queue is counted there, so that nothing has to be told when it ends;
only what is on its way there, or is no event, is remembered here.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from t2ui.http.gradio_queue import GradioQueue
from t2ui.http.limits import Limits
from t2ui.http.refusal import busy
from t2ui.ui.shared.visitor import Visitor

ANSWERS, WORKER, TOKENS = "answers", "worker", "tokens"  # the first two as the page names them


@dataclass(eq=False)
class Entry:
    """A request that was let in."""

    lane: str  # ANSWERS, WORKER, TOKENS, or "" for what waits for nobody
    visitor: Visitor
    api: bool = False  # posted to the API by name: it counts for its address


@dataclass
class Places:
    """Lets requests in as long as there is room for them."""

    limits: Limits
    queue: GradioQueue
    _coming: list[Entry] = field(default_factory=list)  # let in, and not in Gradio's queue yet

    @contextmanager
    def hold(self, entry: Entry) -> Iterator[None]:
        """A place for the length of the block, or for longer if its event is in the queue by then.

        Raises:
            Refusal: there is no room; it says what to do.
        """
        self._check(entry)
        self._coming.append(entry)
        try:
            yield
        finally:
            self._coming.remove(entry)

    def under_way(self, lane: str) -> list[Entry]:
        """The requests of a lane that wait or run."""
        found = {id(one): one for one in (*self._coming, *self.queue.entries())}
        return [one for one in found.values() if one.lane == lane]

    def _check(self, entry: Entry) -> None:
        if not entry.lane:
            return
        limits, under_way = self.limits, self.under_way(entry.lane)
        near = [one for one in under_way if one.visitor.address == entry.visitor.address]
        if entry.api:
            mine = sum(one.api for one in near)
            most_mine = limits.api_answers_per_address
            what = (
                f"{_count(mine)} for your address is under way: read its events to the end, or "
                "stop it by closing its event stream."
            )
        else:
            own = [one for one in near if one.visitor.session == entry.visitor.session]
            mine = len(own)
            most_mine, what = {
                ANSWERS: (
                    limits.answers_per_session,
                    "An answer of yours is under way: wait for it, or press Stop.",
                ),
                WORKER: (
                    limits.tasks_per_session,
                    f"{mine} requests of yours are under way: wait until one has ended.",
                ),
                TOKENS: (
                    limits.tokens_per_session,
                    "A next-token request of yours is under way: wait for it.",
                ),
            }[entry.lane]
        most_near, most = {
            ANSWERS: (limits.answers_per_address, limits.answers),
            WORKER: (limits.tasks_per_address, limits.tasks),
            TOKENS: (limits.tokens_per_address, limits.tasks),
        }[entry.lane]
        if mine >= most_mine:
            raise busy(what)
        if len(near) >= most_near:
            raise busy(
                f"{len(near)} requests from your address are under way: wait a moment, then try "
                "again.",
                retry=10,
            )
        if len(under_way) >= most:
            raise busy(
                f"The app is busy: {len(under_way)} requests are under way. Try again in half a "
                "minute.",
                retry=30,
            )


def _count(answers: int) -> str:
    return "1 answer" if answers == 1 else f"{answers} answers"
