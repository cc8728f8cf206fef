"""Searches by ask and tell: the cross-entropy method, CMA-ES, random search. Higher is better.

`ask` gives members (points in a box), `tell` takes their scores. Knows numpy only: no models, no
experts. The best member so far is the first of every later generation and its score the mean of
all it got, so that one lucky score does not win.
"""

import warnings
from typing import Protocol

import numpy as np

from t2ui.config import FewShotConfig
from t2ui.errors import InputError


class Search(Protocol):
    """What the three have in common. D is the number of dimensions."""

    record: "Record"
    mean: np.ndarray  # (D,) of the distribution that the next members come from
    spread: np.ndarray  # (D,) its standard deviation
    converged: bool

    def ask(self) -> np.ndarray:
        """The next generation, (members, D). The first may have more members than the others."""

    def tell(self, scores: np.ndarray) -> None:  # (members,); NaN counts as the worst
        """Scores of the members that `ask` gave last."""


class Record:
    """The generation under way, and the best member of all so far with all the scores it got.

    `generation` is how many were told, `best` (D,) or None, `best_generation` the one that found
    it, from 1.
    """

    def __init__(self, anchors: np.ndarray | None):
        self.generation, self.best_generation = 0, 0
        self.best: np.ndarray | None = None
        self._scores: list[float] = []
        self._anchors = np.zeros((0, 0)) if anchors is None else np.asarray(anchors, dtype=float)
        self._members: np.ndarray | None = None

    @property
    def best_score(self) -> float:
        """The mean of all scores that the best member got; −inf before there is one."""
        return sum(self._scores) / len(self._scores) if self._scores else -np.inf

    def first(self) -> np.ndarray:  # (members, D)
        """What the next generation begins with: the best, or at first the anchors."""
        if self.generation == 0 or self.best is None:
            return self._anchors
        return self.best[None]

    def asked(self, members: np.ndarray) -> np.ndarray:
        """Remember the generation that is handed out."""
        self._members = members
        return members.copy()

    def told(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The members and their scores: −inf for NaN, the mean of all its scores for the best."""
        if self._members is None:
            raise ValueError("tell() came before ask()")
        scores = np.array(scores, dtype=float)
        if scores.shape != (len(self._members),):
            raise ValueError(f"got scores of shape {scores.shape} for {len(self._members)} members")
        scores[np.isnan(scores)] = -np.inf
        members, self._members = self._members, None
        self.generation += 1
        if self.best is not None:
            self._scores.append(float(scores[0]))
            scores[0] = self.best_score
        winner = int(scores.argmax())
        if scores[winner] > -np.inf and (self.best is None or winner > 0):
            self.best, self.best_generation = members[winner], self.generation
            self._scores = [float(scores[winner])]
        return members, scores


class CEM:
    """The cross-entropy method with one normal distribution a dimension.

    Args:
        start: (D,) the first mean.
        config: population, elite_ratio, bounds, spread, floor, smoothing and seed are used.
        anchors: (A, D) members that the first generation holds besides random ones.
    """

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        self.config = config
        self.mean = np.array(start, dtype=float)
        self.spread = np.full_like(self.mean, config.spread)
        self.converged = False
        self._random = np.random.default_rng(config.seed)
        self.record = Record(anchors)

    def ask(self) -> np.ndarray:
        """See `Search`. Members are clipped to the bounds."""
        first = self.record.first()
        count = max(self.config.population - len(first), 0)
        drawn = self.mean + self.spread * self._random.standard_normal((count, self.mean.size))
        members = np.concatenate([first.reshape(-1, self.mean.size), drawn])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray) -> None:
        """See `Search`. The next mean and spread are those of the elites."""
        members, scores = self.record.told(scores)
        usable = int(np.isfinite(scores).sum())
        if not usable:
            return
        count = min(max(1, round(self.config.elite_ratio * len(scores))), usable)
        elites = members[np.argsort(-scores, kind="stable")[:count]]
        keep = self.config.smoothing
        self.mean = keep * self.mean + (1 - keep) * elites.mean(0)
        # the deviation of what was there, not an estimate: one elite has 0, not NaN
        spread = keep * self.spread + (1 - keep) * elites.std(0)
        self.converged = bool((spread <= self.config.floor).all())
        self.spread = np.maximum(spread, self.config.floor)


class RandomSearch:
    """Uniform members: what a search has to beat. Arguments as for `CEM`; `mean` and `spread` are
    those of the box."""

    def __init__(self, start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None):
        self.config = config
        size = np.size(start)
        self.mean = np.full(size, (config.low + config.high) / 2)
        self.spread = np.full(size, (config.high - config.low) / 12**0.5)
        self.converged = False
        self._random = np.random.default_rng(config.seed)
        self.record = Record(anchors)

    def ask(self) -> np.ndarray:
        """See `Search`."""
        first, size = self.record.first(), self.mean.size
        count = max(self.config.population - len(first), 0)
        drawn = self._random.uniform(self.config.low, self.config.high, (count, size))
        members = np.concatenate([first.reshape(-1, size), drawn])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray) -> None:
        """See `Search`."""
        self.record.told(scores)


class CMA:
    """CMA-ES by the package `cma`, which adapts a full covariance. Arguments as for `CEM`."""

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
            np.array(start, dtype=float),
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

    def ask(self) -> np.ndarray:
        """See `Search`. The strategy does not see the best of before: it brings its own mean."""
        first, size = self.record.first(), self.mean.size
        self._own = max(self.config.population - len(first), 2)
        members = np.concatenate([first.reshape(-1, size), self._strategy.ask(self._own)])
        return self.record.asked(members.clip(self.config.low, self.config.high))

    def tell(self, scores: np.ndarray) -> None:
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
        return np.asarray(self._strategy.result.xfavorite)

    @property
    def spread(self) -> np.ndarray:
        return np.asarray(self._strategy.stds)

    @property
    def converged(self) -> bool:
        return bool((self.spread <= self.config.floor).all())


def make_search(
    start: np.ndarray, config: FewShotConfig, anchors: np.ndarray | None = None
) -> Search:
    """The search that `config.found_by` names: cem, cma or random."""
    kinds = {"cem": CEM, "cma": CMA, "random": RandomSearch}
    return kinds[config.found_by](start, config, anchors)
