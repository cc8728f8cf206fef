"""How many prompt tokens are read between two decode steps, so that no answer stalls."""

ALONE_TOKENS = 512  # in one piece where no answer is decoding; a cancel is seen after each piece
LEAST_TOKENS = 24  # below this a forward pass costs about the same
SMOOTHING = 0.3  # the last measurement's share of the moving average


class Pace:
    """Measures decoding and reading, and sizes the pieces: a piece and a step together take about
    twice as long as a step alone."""

    def __init__(self) -> None:
        self._step: float | None = None  # seconds of a decode step, smoothed
        self._token: float | None = None  # seconds per token read, smoothed

    def decoded(self, seconds: float) -> None:
        """A decode step took so long."""
        self._step = _smoothed(self._step, seconds)

    def read(self, tokens: int, seconds: float) -> None:
        """So many tokens of prompts were read in one piece."""
        if tokens:
            self._token = _smoothed(self._token, seconds / tokens)

    def tokens(self, beside: bool) -> int:
        """How many tokens the next piece may have; `beside`: answers that decode wait for it."""
        if not beside:
            return ALONE_TOKENS
        if self._step is None or self._token is None:
            return LEAST_TOKENS
        return min(max(int(self._step / self._token), LEAST_TOKENS), ALONE_TOKENS)


def _smoothed(known: float | None, new: float) -> float:
    return new if known is None else (1 - SMOOTHING) * known + SMOOTHING * new
