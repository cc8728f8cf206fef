"""Gradient ascent on the likelihood of the right answers, by Adam over α."""

import numpy as np
import torch

from t2ui.config import FewShotConfig
from t2ui.few_shot.optimizers.base import Record


class GradientAscent:
    """Adam from the best anchor, with a pull towards it, clipped to the bounds.

    The first generation only scores the anchors; each later one is a single member, whose gradient
    `tell` gets with its score. The step length falls along a cosine.

    Args:
        start: (K,) or (K, layers), scored in place of anchors where there are none.
        config: generations (steps), bounds, learning_rate and pull are used.
        anchors: (A, D) members to begin from the best of.
    """

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        self.config = config
        self.mean = np.array(start, dtype=float).reshape(-1)  # the last member that was scored
        self.spread = np.zeros_like(self.mean)
        self.converged = False
        self.record = Record(self.mean[None] if anchors is None else anchors)
        self._layers = start.shape[1] if start.ndim == 2 else 1
        self._start: torch.Tensor | None = None  # the best anchor, once it is known

    def winners(self, members: int) -> int | None:
        """See `Search`."""
        return None

    def ask(self) -> np.ndarray:
        """See `Search`."""
        if self._start is None:
            return self.record.asked(self.record.first().clip(self.config.low, self.config.high))
        return self.record.asked(self._alpha.detach().numpy().astype(float)[None], again=False)

    def tell(self, scores: np.ndarray, gradient: np.ndarray | None = None) -> None:
        """See `Search`. Without a finite score and gradient there is nowhere to go: converged."""
        members, scores = self.record.told(scores)
        if self._start is None:
            if self.record.best is not None:
                self._begin(self.record.best)
            return
        self.mean = members[0]
        if gradient is None or not np.isfinite(scores[0]) or not np.isfinite(gradient).all():
            self.converged = True
            return
        self._step(self._start, torch.tensor(gradient, dtype=torch.float32))

    def _begin(self, best: np.ndarray) -> None:
        self.mean = best
        self._start = torch.tensor(best, dtype=torch.float32)
        self._alpha = self._start.clone()
        self._optimizer = torch.optim.Adam([self._alpha], self.config.learning_rate)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimizer, self.config.generations
        )

    def _step(self, start: torch.Tensor, gradient: torch.Tensor) -> None:
        """One step up the likelihood; the pull towards `start` is averaged over layers."""
        away = self._alpha - start
        self._alpha.grad = 2 * self.config.pull / self._layers * away - gradient
        self._optimizer.step()
        self._schedule.step()
        self._alpha.clamp_(self.config.low, self.config.high)
