"""How many prompt tokens are read between two decode steps, so that no answer stalls."""

import time
from collections.abc import Generator
from typing import TypeVar

Result = TypeVar("Result")

MOST_TOKENS = 512  # in one piece
FIRST_TOKENS = 64  # in one piece as long as nothing is measured
LEAST_TOKENS = 48  # below this a forward pass costs about the same: it reads all weights
# Of a second of reading, in seconds of decoding: the step behind it is slower than usual, since the
# prompt's numbers are in the processor's caches.
PRICE = 1.25
ALONE_SECONDS = 0.4  # of a piece where no answer is decoding: who comes, or cancels, waits for it
# The last measurement's share of the moving average: a longer time may be a hiccup, a shorter one
# is what the machine can do.
SLOWER, FASTER = 0.3, 0.6


class Pace:
    """Measures decoding and reading, and sizes the pieces: beside answers that decode, reading gets
    as much time as they do, so that their tokens take about twice as long as usual, no more. Where
    more prompts wait than answers decode it gets so many times as much: small pieces cost several
    times as much per token, and fifteen do not wait for one."""

    def __init__(self) -> None:
        self._ahead = 0.0  # seconds that reading had more than decoding
        self._step: float | None = None  # seconds of a decode step, smoothed
        self._token: float | None = None  # seconds per token read, smoothed

    def decoded(self, seconds: float) -> None:
        """A decode step took so long."""
        self._step = _smoothed(self._step, seconds)
        self._ahead = max(0.0, self._ahead - seconds)

    def read(self, tokens: int, seconds: float, beside: bool = False, crowd: float = 1.0) -> None:
        """So many tokens of prompts were read in one piece; see `tokens`."""
        if tokens:
            self._token = _smoothed(self._token, seconds / tokens)
        if beside:
            self._ahead += PRICE * seconds / max(1.0, crowd)

    def measured(
        self, pieces: Generator[None, None, Result], tokens: int
    ) -> Generator[None, None, Result]:
        """The same pieces, of so many tokens each, measured."""
        while True:
            began = time.perf_counter()
            try:
                next(pieces)
            except StopIteration as ended:
                result: Result = ended.value
                return result
            self.read(tokens, time.perf_counter() - began)
            yield

    def may_read(self, beside: bool) -> bool:
        """Whether it is reading's turn: always where nobody waits, see the class elsewhere."""
        return not beside or self._ahead <= 0

    def tokens(self, beside: bool, crowd: float = 1.0) -> int:
        """How many tokens the next piece may have.

        Args:
            beside: answers that decode wait for it.
            crowd: prompts that are read, for each of these answers.
        """
        seconds: float | None = ALONE_SECONDS
        if beside and (seconds := self._step) is not None:
            seconds = max(seconds, min(seconds * crowd, ALONE_SECONDS))
        if seconds is None or self._token is None:
            return FIRST_TOKENS
        return min(max(int(seconds / self._token), LEAST_TOKENS), MOST_TOKENS)


def _smoothed(known: float | None, new: float) -> float:
    if known is None:
        return new
    share = SLOWER if new > known else FASTER
    return (1 - share) * known + share * new
