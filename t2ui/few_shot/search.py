"""Finds the weights α of a mixture by a population or by the gradient of the likelihood.

Composes `cem` with the scores of a population. Knows nothing of what is held out or reported; its
generators pause after every batch with nothing left set.
"""

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from t2ui.config import ALPHA_LIMIT, LEAST_SUM, FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.optimizers import make_search
from t2ui.few_shot.scoring import ExpertBasis, Scorer, backward_tokens, member_tokens
from t2ui.svf.adapter import Scales
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Mixture
from t2ui.tasks.base import Example


@dataclass(frozen=True)
class Generation:
    """One generation of the search, as plain data. Scores are the objective's; see `ScoreTable`."""

    number: int  # from 1
    best: float  # the best member so far; scored again in every generation that holds it
    mean: float  # of this generation, as `spread`
    spread: float
    alpha_mean: dict[str, float]  # of the search's distribution; over layers where per layer
    alpha_spread: dict[str, float]
    population: tuple[tuple[float, ...], ...]  # (members, experts), over layers where per layer
    scores: tuple[float, ...]  # (members,); NaN where a member could not be scored
    tokens: int  # processed so far; a backward pass counts as two forward passes
    forward_passes: int
    seconds: float


@dataclass(frozen=True)
class BestMember:
    """The best member of a search: α (K,) or (K, layers), and the generation that found it."""

    alpha: np.ndarray
    number: int


class MixtureSearch:
    """Searches with one adapter, one set of experts and one config. See `few_shot.search`."""

    def __init__(self, scorer: Scorer, experts: Mapping[str, Expert], stopped: Callable[[], bool]):
        self.scorer, self.config, self.adapter = scorer, scorer.config, scorer.adapter
        self.experts, self.stopped = dict(experts), stopped
        if not self.experts:
            raise InputError(
                "There is no expert to mix: train one, or choose a folder that holds some."
            )
        for expert in self.experts.values():
            self.adapter.check(expert, self.config.allow_transfer)
        self.basis = ExpertBasis(self.adapter, self.experts)
        layers = (self.basis.layers,) if self.config.per_layer else ()
        self.shape = (len(self.experts), *layers)  # of one member's α
        self.generations: list[Generation] = []
        self.started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """Since it was made."""
        return time.perf_counter() - self.started

    def find(self, examples: Sequence[Example], shown: bool = True) -> Generator:
        """Search on these examples: yields None and, if shown, Generations; returns BestMember, or
        None where it was stopped before a first generation was scored."""
        if self.config.found_by == "gradient":
            return (yield from self._by_gradient(examples, shown))
        return (yield from self._by_population(examples, shown))

    def mixture(self, found: BestMember | None) -> Mixture:
        """As it is handed out: weights of four decimals."""
        if found is None:
            return Mixture()
        rows = found.alpha.round(4).tolist()
        weights = [tuple(row) if isinstance(row, list) else row for row in rows]
        return Mixture(dict(zip(self.experts, weights, strict=True)), self.config.normalise)

    def _by_population(self, examples: Sequence[Example], shown: bool) -> Generator:
        anchors = self._anchors()
        flat = anchors.reshape(len(anchors), -1)
        even = flat[-1]  # the even mixture, within the bounds
        searching = make_search(even, self.config, flat if self.config.anchors else None)
        record = searching.record
        while record.generation < self.config.generations and not searching.converged:
            if self.stopped():
                break
            members = searching.ask().reshape(-1, *self.shape)
            scores = yield from self._scores(members, examples)
            if scores is None:
                break
            searching.tell(scores)
            if shown:
                about = searching.mean.reshape(self.shape), searching.spread.reshape(self.shape)
                yield self._generation(record.best_score, members, scores, about)
        if record.best is None:
            return None
        return BestMember(record.best.reshape(self.shape), record.best_generation)

    def _by_gradient(self, examples: Sequence[Example], shown: bool) -> Generator:
        """Adam on −likelihood + pull, from the best anchor, its weights clipped to the bounds."""
        anchors = self._anchors()
        scores = yield from self._scores(anchors, examples)
        if scores is None:
            return None
        first = int(np.nanargmax(scores))
        best, found = float(scores[first]), BestMember(anchors[first], 1)
        none = np.zeros(self.shape)
        if shown:
            yield self._generation(best, anchors, scores, (anchors[first], none))
        ascent = GradientAscent(self.basis, anchors[first], self.config)
        for number in range(2, self.config.generations + 1):
            alpha = ascent.alpha
            total = np.abs(alpha.sum(0)).min() if self.config.normalise else 1.0
            cancelled = total < LEAST_SUM or np.abs(alpha).max() / total > ALPHA_LIMIT
            if cancelled or self.stopped():
                break
            done = yield from self._unless_stopped(
                self.scorer.gradient(self.basis, ascent.scales(), examples)
            )
            if done is None or not math.isfinite(done[0]):
                break
            score = done[0]
            if score > best:
                best, found = score, BestMember(alpha, number)
            if shown:
                yield self._generation(best, alpha[None], np.array([score]), (alpha, none))
            ascent.step(done[1])
        return found

    def _unless_stopped(self, steps: Generator) -> Generator:
        """Run the steps, pausing as they do; returns what they return, or None if stopped."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                return end.value
            yield None
            if self.stopped():
                steps.close()
                return None

    def _scores(self, members: np.ndarray, examples: Sequence[Example]) -> Generator:
        """(members, *shape) -> (members,) scores, NaN where one cannot be normalised."""
        usable, scales = self._scales(members)
        table = yield from self._unless_stopped(self.scorer.table(scales, examples))
        if table is None:
            return None
        scores = table.searched(self.config.objective)
        scores[~usable | ~np.isfinite(scores)] = np.nan
        if np.isnan(scores).all():
            raise InputError(
                f"None of {len(scores)} mixtures got a finite score: α between "
                f"{self.config.low:g} and {self.config.high:g} breaks this model; choose "
                "narrower bounds, or float32."
            )
        return scores

    def _scales(self, members: np.ndarray) -> tuple[np.ndarray, list[Scales | None]]:
        """Which members can be used, (members,) bool, and their z; None is the base model."""
        usable = np.ones(len(members), dtype=bool)
        if self.config.normalise:
            total = members.sum(1, keepdims=True)
            usable = (np.abs(total) >= LEAST_SUM).reshape(len(members), -1).all(1)
            members = np.divide(
                members, total, out=np.zeros_like(members), where=np.abs(total) >= LEAST_SUM
            )
            # no mixture may be handed out that `Mixture` would refuse
            usable &= (np.abs(members) <= ALPHA_LIMIT).reshape(len(members), -1).all(1)
        alpha = torch.tensor(members, dtype=torch.float32, device=self.basis.offsets.device)
        mixed = self.basis.mixed(alpha)
        scales = [
            self.basis.scales(z) if member.any() else None
            for z, member in zip(mixed, members, strict=True)
        ]
        return usable, scales

    def _anchors(self) -> np.ndarray:  # (A, *shape)
        members = anchors(len(self.experts), self.config).clip(self.config.low, self.config.high)
        if len(self.shape) == 2:
            members = np.repeat(members[:, :, None], self.shape[1], axis=2)
        return members

    def _generation(self, best, members, scores, about) -> Generation:
        """Plain data, means over layers where α is per layer."""
        mean, spread = (a.reshape(len(self.experts), -1).mean(1).tolist() for a in about)
        population = members.reshape(len(members), len(self.experts), -1).mean(2)
        usable = scores[np.isfinite(scores)]
        generation = Generation(
            number=len(self.generations) + 1,
            best=best,
            mean=float(usable.mean()),
            spread=float(usable.std()),
            alpha_mean=dict(zip(self.experts, mean, strict=True)),
            alpha_spread=dict(zip(self.experts, spread, strict=True)),
            population=tuple(map(tuple, population.tolist())),
            scores=tuple(scores.tolist()),
            tokens=self.scorer.tokens,
            forward_passes=self.scorer.forward_passes,
            seconds=self.seconds,
        )
        self.generations.append(generation)
        return generation


def anchors(experts: int, config: FewShotConfig) -> np.ndarray:  # (A, experts)
    """The even mixture; and with `config.anchors`, the base model and every expert alone."""
    rows = [np.full((1, experts), 1 / experts)]
    if config.anchors:
        base = np.zeros((0 if config.normalise else 1, experts))
        rows = [base, np.eye(experts), *rows[: experts > 1]]  # the even one stays the last
    return np.concatenate(rows)


def generation_tokens(examples: Sequence[Example], config: FewShotConfig) -> int:
    """Tokens of one generation after the first; a backward pass counts as two forward passes."""
    if config.found_by == "gradient":
        return 3 * member_tokens(examples, replace(config, batch_tokens=backward_tokens(config)))
    return config.population * member_tokens(examples, config)


def search_tokens(examples: Sequence[Example], config: FewShotConfig, experts: int) -> int:
    """Tokens that a search over these examples processes if it runs to its last generation; the
    report's part is not in it."""
    first = len(anchors(experts, config))
    if config.found_by != "gradient":
        first = max(first, config.population)
    later = (config.generations - 1) * generation_tokens(examples, config)
    return first * member_tokens(examples, config) + later


class GradientAscent:
    """Gradient ascent on the likelihood over α, with a pull towards the start.

    Through z′ = 1 + Σ α_k (z_k − 1) the gradient with respect to z gives that with respect to α.
    The step length falls along a cosine, and α is clipped to the bounds.
    """

    def __init__(self, basis: ExpertBasis, start: np.ndarray, config: FewShotConfig):
        self.basis, self.config = basis, config
        self._start = torch.tensor(start, dtype=torch.float32, device=basis.offsets.device)
        self._alpha = self._start.clone().requires_grad_()
        self._optimizer = torch.optim.Adam([self._alpha], config.learning_rate)
        steps = max(1, config.generations)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimizer, steps)

    @property
    def alpha(self) -> np.ndarray:  # (K,) or (K, layers)
        """Where it is now, a copy."""
        return self._alpha.detach().cpu().numpy().astype(float)

    def scales(self) -> Tensor:  # (all scales,)
        """z′ where it is now, without a graph."""
        with torch.no_grad():
            return self._mixed()

    def step(self, gradient: Tensor) -> None:  # (all scales,): of the likelihood
        """Go one step up the likelihood."""
        with torch.enable_grad():
            away = (self._alpha - self._start).square().reshape(len(self._start), -1)
            loss = self.config.pull * away.mean(1).sum() - (self._mixed() * gradient).sum()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        with torch.no_grad():
            self._alpha.clamp_(self.config.low, self.config.high)

    def _mixed(self) -> Tensor:
        alpha = self._alpha
        if self.config.normalise:
            alpha = alpha / alpha.sum(0)
        return self.basis.mixed(alpha[None])[0]
