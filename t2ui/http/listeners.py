"""Who listens to which session's events, and the end of those that nobody listens to."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from t2ui.http.gradio_queue import GradioQueue
from t2ui.http.limits import Limits
from t2ui.http.refusal import busy

SWEEP_SECONDS = 1.0


class Listeners:
    """The event streams that are open."""

    def __init__(
        self, limits: Limits, queue: GradioQueue, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits, self._queue, self._clock = limits, queue, clock
        self._listening: Counter[str] = Counter()  # streams by session
        self._streams: Counter[str] = Counter()  # streams by address, heartbeats too
        self._unheard: dict[str, float] = {}  # since when nobody listens, by session

    @contextmanager
    def stream(self, address: str, session: str | None) -> Iterator[None]:
        """For as long as a stream is open; `session` is None for one that carries no events.

        Raises:
            Refusal: too many are open from this address.
        """
        if self._streams[address] >= self._limits.streams_per_address:
            raise busy(
                f"{self._streams[address]} event streams to your address are open: close some "
                "pages or clients.",
                retry=30,
            )
        self._streams[address] += 1
        if session is not None:
            self._listening[session] += 1
            self._unheard.pop(session, None)
        try:
            yield
        finally:
            _less(self._streams, address)
            if session is not None:
                _less(self._listening, session)
                if session not in self._listening:
                    self._unheard[session] = self._clock()

    def expect(self, session: str) -> None:
        """Something was posted for this session: somebody will listen, and has time to."""
        if session not in self._listening:
            self._unheard[session] = self._clock()

    async def sweep(self) -> None:
        """End what nobody has listened to for so long, and drop what nobody has read."""
        now, events = self._clock(), self._queue.events()
        known = {event.session_hash for event in events} | self._queue.sessions()
        for session in known:
            if session not in self._listening:
                self._unheard.setdefault(session, now)
        for session in [session for session in self._unheard if session not in known]:
            del self._unheard[session]
        old = {
            session
            for session, since in self._unheard.items()
            if now - since >= self._limits.unheard_seconds
        }
        for event in events:
            if event.session_hash in old:
                await self._queue.end(event)
        for session in old - self._listening.keys():  # ending the others took its time
            self._queue.forget(session)
            self._unheard.pop(session, None)


def _less(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]
