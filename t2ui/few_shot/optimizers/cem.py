"""The cross-entropy method, the paper's search (arXiv 2501.06252, section 3.2)."""

import numpy as np

from t2ui.config import FewShotConfig
from t2ui.few_shot.optimizers.base import Record


class CEM:
    """The cross-entropy method with one normal distribution per dimension.

    Args:
        start: the first mean; see `Search`.
        config: population, elite_ratio, bounds, spread, floor, smoothing and seed are used.
        anchors: members that the first generation holds beside random ones.
    """

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        self.config = config
        self.mean = np.array(start, dtype=float).reshape(-1)
        self.spread = np.full_like(self.mean, config.spread)
        self.converged = False
        self._random = np.random.default_rng(config.seed)
        self.record = Record(anchors)

    def winners(self, members: int) -> int:
        """See `Search`."""
        return max(1, round(self.config.elite_ratio * members))

    def ask(self) -> np.ndarray:
        """See `Search`. Members are clipped to the bounds."""
        first = self.record.first()
        count = max(self.config.population - len(first), 0)
        drawn = self.mean + self.spread * self._random.standard_normal((count, self.mean.size))
        members = np.concatenate([first.reshape(-1, self.mean.size), drawn])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray, gradient: np.ndarray | None = None) -> None:
        """See `Search`. The next mean and spread are those of the elites."""
        members, scores = self.record.told(scores)
        usable = int(np.isfinite(scores).sum())
        if not usable:
            return
        count = min(self.winners(len(scores)), usable)
        elites = members[np.argsort(-scores, kind="stable")[:count]]
        keep = self.config.smoothing
        self.mean = keep * self.mean + (1 - keep) * elites.mean(0)
        # the deviation of what was there, not an estimate: one elite has 0, not NaN
        spread = keep * self.spread + (1 - keep) * elites.std(0)
        self.converged = bool((spread <= self.config.floor).all())
        self.spread = np.maximum(spread, self.config.floor)
