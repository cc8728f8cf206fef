"""Random search: what every other method has to beat."""

import numpy as np

from t2ui.config import FewShotConfig
from t2ui.few_shot.optimizers.base import Record


class RandomSearch:
    """Uniform members; `mean` and `spread` are those of the box.

    Args:
        start: only its size is used.
        config: population, bounds and seed are used.
        anchors: members that the first generation holds beside random ones.
    """

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        self.config = config
        size = np.size(start)
        self.mean = np.full(size, (config.low + config.high) / 2)
        self.spread = np.full(size, (config.high - config.low) / 12**0.5)
        self.converged = False
        self._random = np.random.default_rng(config.seed)
        self.record = Record(anchors)

    def winners(self, members: int) -> int | None:
        """See `Search`."""
        return 1

    def ask(self) -> np.ndarray:
        """See `Search`."""
        first, size = self.record.first(), self.mean.size
        count = max(self.config.population - len(first), 0)
        drawn = self._random.uniform(self.config.low, self.config.high, (count, size))
        members = np.concatenate([first.reshape(-1, size), drawn])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray, gradient: np.ndarray | None = None) -> None:
        """See `Search`."""
        self.record.told(scores)
