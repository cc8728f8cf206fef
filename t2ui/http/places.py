"""How many may be under way at once: answers, next tokens and other work, by session and address.

What runs or waits in Gradio's queue is counted there, so that nothing has to be told when it ends;
only what is on its way there, or is no event, is remembered here.
"""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from t2ui.http.gradio_queue import GradioQueue
from t2ui.http.limits import Limits
from t2ui.http.refusal import busy
from t2ui.ui.shared.visitor import Visitor

SETTLE_SECONDS = 1.0
ANSWERS, WORKER, TOKENS = "answers", "worker", "tokens"  # the first two as the page names them
NAMES = {ANSWERS: "answer", WORKER: "request", TOKENS: "next-token request"}


@dataclass(eq=False)
class Entry:
    """A request that was let in."""

    lane: str  # ANSWERS, WORKER, TOKENS, or "" for what waits for nobody
    visitor: Visitor
    api: bool = False  # posted to the API by name: it counts for its address
    limits: Limits | None = None  # a tenant's own; None: everybody's
    stopped: bool = False  # it was, and has not ended yet


@dataclass
class Places:
    """Lets requests in as long as there is room for them."""

    limits: Limits
    queue: GradioQueue
    _coming: list[Entry] = field(default_factory=list)  # let in, and not in Gradio's queue yet

    async def settle(self, entry: Entry) -> None:
        """Wait a moment for what the same page has stopped, or has been told the end of.

        Gradio knows it a little longer: whoever asks again at once must not be told that it is
        still under way.
        """
        end = time.monotonic() + SETTLE_SECONDS
        while entry.lane and not entry.api and time.monotonic() < end:
            own, told = self._own(entry), self.queue.told_of_their_end()
            if not any(one.stopped or one in told for one in own):
                return
            await asyncio.sleep(SETTLE_SECONDS / 50)

    def stopped(self, event_id: str, visitor: Visitor) -> None:
        """A visitor has stopped an event."""
        entry = self.queue.entry_of(event_id)
        if entry is not None and entry.visitor.session == visitor.session:
            entry.stopped = True

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

    def count(self) -> int:
        """Requests that were let in and have not ended, of all lanes."""
        return len({id(one) for one in (*self._coming, *self.queue.entries()) if one.lane})

    def _own(self, entry: Entry) -> list[Entry]:
        """What the same page has under way in this lane."""
        visitor = entry.visitor
        return [
            one
            for one in self.under_way(entry.lane)
            if (one.visitor.session, one.visitor.address) == (visitor.session, visitor.address)
        ]

    def _check(self, entry: Entry) -> None:
        if not entry.lane:
            return
        under_way = self.under_way(entry.lane)
        near = [one for one in under_way if one.visitor.address == entry.visitor.address]
        if entry.api:
            own, whose = [one for one in near if one.api], "for your address"
            remedy = "read its events to the end, or stop it by closing its event stream"
        else:
            own = self._own(entry)
            whose, remedy = "of yours", "wait for it, or press Stop"
        most_own, most_near, most = self._most(entry)
        if len(own) >= most_own:
            raise busy(f"{_under_way(own, whose)}: {remedy}.")
        if len(near) >= most_near:
            said = _under_way(near, "from your address")
            raise busy(f"{said}: wait a moment, then try again.", retry=10)
        if len(under_way) >= most:
            said = _under_way(under_way, "of other visitors")
            raise busy(f"The app is busy: {said}. Try again in half a minute.", retry=30)

    def _most(self, entry: Entry) -> tuple[int, int, int]:
        """At once: of one's own, from one address, and of everybody."""
        limits = entry.limits or self.limits
        if entry.api:
            return limits.api_answers_per_address, limits.answers_per_address, self.limits.answers
        return {
            ANSWERS: (limits.answers_per_session, limits.answers_per_address, limits.answers),
            WORKER: (limits.tasks_per_session, limits.tasks_per_address, limits.tasks),
            TOKENS: (limits.tokens_per_session, limits.tokens_per_address, limits.tasks),
        }[entry.lane]


def _under_way(entries: list[Entry], whose: str) -> str:
    """In words, e.g. "2 answers from your address are under way"."""
    what = NAMES[entries[0].lane] if entries else "request"
    if len(entries) == 1:
        return f"1 {what} {whose} is under way"
    return f"{len(entries)} {what}s {whose} are under way"
