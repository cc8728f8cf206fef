"""A search method as somebody might add one: small steps from the best member so far."""

import numpy as np

from t2ui.catalogue import SearchMethod
from t2ui.config import FewShotConfig
from t2ui.few_shot.optimizers.base import Record

ENTRY = SearchMethod("hill_climb:HillClimb", "hill climbing", "Small steps from the best so far.")


class HillClimb:
    """Normal steps of `config.spread` from the best member."""

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        self.config, self.record = config, Record(anchors)
        self.mean = np.array(start, dtype=float).reshape(-1)
        self.spread = np.full_like(self.mean, config.spread)
        self.converged = False
        self._random = np.random.default_rng(config.seed)

    def winners(self, members: int) -> int | None:
        return 1

    def ask(self) -> np.ndarray:
        first, size = self.record.first(), self.mean.size
        count = max(self.config.population - len(first), 0)
        drawn = self.mean + self.spread * self._random.standard_normal((count, size))
        members = np.concatenate([first.reshape(-1, size), drawn])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray, gradient: np.ndarray | None = None) -> None:
        self.record.told(scores)
        if self.record.best is not None:
            self.mean = self.record.best
