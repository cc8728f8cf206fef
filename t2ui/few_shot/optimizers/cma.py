"""CMA-ES, by the package `cma`."""

import warnings

import numpy as np

from t2ui.config import FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.optimizers.base import Record


class CMA:
    """CMA-ES, which adapts a full covariance matrix.

    Args:
        start: the first mean; see `Search`.
        config: population, bounds, spread, floor and seed are used.
        anchors: members that the first generation holds beside random ones.

    Raises:
        InputError: the package `cma` is not installed.
    """

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that it cannot plot
                import cma
        except ImportError:
            raise InputError(
                "Method cma needs the package `cma`: pip install cma, or choose cem."
            ) from None
        self.config = config
        random = np.random.default_rng(config.seed)
        self._strategy = cma.CMAEvolutionStrategy(
            np.array(start, dtype=float).reshape(-1),
            config.spread,
            {
                "bounds": [config.low, config.high],
                "popsize": config.population,
                "randn": lambda *shape: random.standard_normal(shape),
                "seed": np.nan,  # leaves numpy's global generator alone
                "verbose": -9,
                # the package fails on limiting the deviation of a single dimension
                **({"maxstd": np.inf} if np.size(start) == 1 else {}),
            },
        )
        self.record = Record(anchors)
        self._own = 0  # members at the end of the generation that are the strategy's

    def winners(self, members: int) -> int | None:
        """See `Search`."""
        return None

    def ask(self) -> np.ndarray:
        """See `Search`. The strategy does not see the best of before: it brings its own mean."""
        first, size = self.record.first(), self.mean.size
        self._own = max(self.config.population - len(first), 2)
        members = np.concatenate([first.reshape(-1, size), self._strategy.ask(self._own)])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray, gradient: np.ndarray | None = None) -> None:
        """See `Search`."""
        members, scores = self.record.told(scores)
        finite = np.isfinite(scores)
        if not finite.any():
            return
        losses = np.where(finite, -scores, 1 - scores[finite].min())
        first_ones = self.record.generation == 1  # anchors teach it; later the best would be twice
        taught = slice(None) if first_ones else slice(-self._own, None)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it did not draw the anchors itself
            self._strategy.tell(list(members[taught]), list(losses[taught]))

    @property
    def mean(self) -> np.ndarray:
        """See `Search`."""
        return np.asarray(self._strategy.result.xfavorite)

    @property
    def spread(self) -> np.ndarray:
        """See `Search`."""
        return np.asarray(self._strategy.stds)

    @property
    def converged(self) -> bool:
        """See `Search`."""
        return bool((self.spread <= self.config.floor).all())
