"""How often: a token bucket for each key. Knows no request and no clock but the one it is given."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable

from t2ui.http.limits import BURST_SECONDS

MOST_KEYS = 20_000  # remembered; a forgotten one has its whole burst again


class Rates:
    """`take` lets through so many a second, and at first as many as come in BURST_SECONDS."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left: OrderedDict[Hashable, tuple[float, float]] = OrderedDict()  # tokens, when

    def take(self, key: Hashable, per_second: float, amount: float = 1) -> float:
        """Seconds to wait until there is one more; 0 where it was there, and `amount` is now used:
        of a size that is known only afterwards more may be used than there was."""
        now, most = self._clock(), max(1.0, BURST_SECONDS * per_second)
        left, since = self._left.get(key, (most, now))
        left = min(most, left + (now - since) * per_second)
        wait = 0.0
        if left >= 1:
            left -= amount
        else:
            wait = (1 - left) / per_second if per_second else 3600.0
        self._left[key] = left, now
        self._left.move_to_end(key)
        if len(self._left) > MOST_KEYS:
            self._left.popitem(last=False)
        return wait
