"""The end of a server that answers: what runs is answered to its end, nothing new is begun."""

import threading
import time
from collections.abc import Callable

from t2ui.http.refusal import Refusal

RETRY_SECONDS = 30.0
LOOK_SECONDS = 0.1
LAST_WORDS_SECONDS = 0.5  # in which streams whose answer has ended are sent to their ends


class Drain:
    """Whether the server is about to end. `begin` may be called from a signal's handler."""

    def __init__(self) -> None:
        self._begun = threading.Event()
        self._under_way: Callable[[], int] = lambda: 0

    @property
    def begun(self) -> bool:
        """Whether nothing new is taken."""
        return self._begun.is_set()

    @property
    def under_way(self) -> int:
        """Requests that were let in and have not ended."""
        return self._under_way()

    def count_by(self, under_way: Callable[[], int]) -> None:
        """How to know what is under way: the door says, once it is there."""
        self._under_way = under_way

    def begin(self) -> None:
        """Take nothing new from now on."""
        self._begun.set()

    def wait_begun(self, seconds: float) -> bool:
        """Block until it has begun, at most so long."""
        return self._begun.wait(seconds)

    def check(self) -> None:
        """
        Raises:
            Refusal: nothing new is taken.
        """
        if self.begun:
            raise Refusal(
                503, "The server is about to stop: ask again in half a minute.", RETRY_SECONDS
            )

    def finish(self, seconds: float) -> int:
        """Block until nothing is under way, at most so long; how many were still."""
        end = time.monotonic() + seconds
        while self.under_way and time.monotonic() < end:
            time.sleep(LOOK_SECONDS)
        time.sleep(min(LAST_WORDS_SECONDS, seconds))
        return self.under_way
