"""Searches the coefficients α of a mixture: members from a search method, scores from the model.

Knows no method by its name, and nothing of what is held out or reported. Its generators pause
after every batch with nothing left set.
"""

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch

from t2ui.checks import ALPHA_LIMIT
from t2ui.config import LEAST_SUM, FewShotConfig
from t2ui.errors import InputError
from t2ui.few_shot.optimizers.base import Search, make_search
from t2ui.few_shot.scoring import (
    ExpertBasis,
    Scorer,
    backward_tokens,
    head_tokens,
    member_tokens,
)
from t2ui.records import Generation
from t2ui.svf.adapter import Scales
from t2ui.svf.expert import Expert
from t2ui.svf.mixture import Alpha, Mixture, scope_of
from t2ui.tasks.base import Example

Result = TypeVar("Result")
# Scores of a generation's members, and the gradient of the one member's score where there is one.
Scored = tuple[np.ndarray, np.ndarray | None]


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

    def find(
        self, examples: Sequence[Example], shown: bool = True
    ) -> Generator[None | Generation, None, BestMember | None]:
        """Search on these examples: yields None and, if shown, Generations; returns the best
        member, or None where the search was stopped before a first generation was scored."""
        anchors = self._anchors()
        flat = anchors.reshape(len(anchors), -1) if self.config.anchors else None
        searching = make_search(anchors[-1], self.config, flat)  # from the even mixture
        record = searching.record
        while record.generation < self.config.generations and not searching.converged:
            if self.stopped():
                break
            members = searching.ask().reshape(-1, *self.shape)
            if self.config.needs_gradient and record.generation > 0:
                scored = yield from self._gradient(members, examples)
            else:
                winners = searching.winners(len(members)) if self.config.racing else None
                scored = yield from self._scores(members, examples, winners)
            if scored is None:
                break
            searching.tell(*scored)
            if shown:
                yield self._generation(searching, members, scored[0])
        if record.best is None:
            return None
        return BestMember(record.best.reshape(self.shape), record.best_generation)

    def mixture(self, found: BestMember | None) -> Mixture:
        """As it is handed out: coefficients of four decimals."""
        if found is None:
            return Mixture()
        rows = found.alpha.round(4).tolist()
        weights: dict[str, Alpha] = {
            name: tuple(row) if isinstance(row, list) else row
            for name, row in zip(self.experts, rows, strict=True)
        }
        scope = "all" if self.scorer.tail is None else "answer"
        plain = Mixture(weights, self.config.normalise)
        # said where its experts alone would not: some that were searched may have α = 0
        return plain if scope_of(plain, self.experts) == scope else replace(plain, scope=scope)

    def _unless_stopped(
        self, steps: Generator[None, None, Result]
    ) -> Generator[None, None, Result | None]:
        """Run the steps, pausing as they do; returns what they return, or None if stopped."""
        while True:
            try:
                next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            yield None
            if self.stopped():
                steps.close()
                return None

    def _scores(
        self, members: np.ndarray, examples: Sequence[Example], winners: int | None
    ) -> Generator[None, None, Scored | None]:
        """(members, *shape) -> (members,) scores, NaN where one cannot be normalised or be among
        the winners; None where the search was stopped."""
        usable, members = self._normalised(members)
        if not usable.all():
            winners = None  # who cannot be used may be ahead of others
        alpha = torch.tensor(members, dtype=torch.float32, device=self.basis.offsets.device)
        mixed = self.basis.mixed(alpha)
        scales: list[Scales | None] = [
            self.basis.scales(z) if member.any() else None  # None is the base model
            for z, member in zip(mixed, members, strict=True)
        ]
        table = yield from self._unless_stopped(self.scorer.table(scales, examples, winners))
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
        return scores, None

    def _gradient(
        self, members: np.ndarray, examples: Sequence[Example]
    ) -> Generator[None, None, Scored | None]:
        """(1, *shape) -> (1,) score, and its gradient (D,) with respect to α, through
        z′ = 1 + Σ α_k (z_k − 1); None where there is none, or the search was stopped."""
        usable, _ = self._normalised(members)
        if not usable.all():
            return None
        device = self.basis.offsets.device
        alpha = torch.tensor(members, dtype=torch.float32, device=device, requires_grad=True)
        with torch.enable_grad():
            z = self.basis.mixed(alpha / alpha.sum(1) if self.config.normalise else alpha)[0]
        steps = self.scorer.gradient(self.basis, z.detach(), examples)
        found = yield from self._unless_stopped(steps)
        if found is None or not np.isfinite(found[0]):
            return None
        (by_alpha,) = torch.autograd.grad(z, alpha, found[1])
        return np.array([found[0]]), by_alpha.cpu().numpy().astype(float).reshape(-1)

    def _normalised(self, members: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which members can be used, (members,) bool, and their α, normalised if asked for."""
        usable = np.ones(len(members), dtype=bool)
        if not self.config.normalise:
            return usable, members
        total = members.sum(1, keepdims=True)
        divisible = np.abs(total) >= LEAST_SUM
        members = np.divide(members, total, out=np.zeros_like(members), where=divisible)
        # no mixture may be handed out that `Mixture` would refuse
        allowed = divisible & (np.abs(members) <= ALPHA_LIMIT)
        return allowed.reshape(len(members), -1).all(1), members

    def _anchors(self) -> np.ndarray:  # (A, *shape)
        members = anchors(len(self.experts), self.config).clip(self.config.low, self.config.high)
        if len(self.shape) == 2:
            members = np.repeat(members[:, :, None], self.shape[1], axis=2)
        return members

    def _generation(self, searching: Search, members: np.ndarray, scores: np.ndarray) -> Generation:
        """Plain data, means over layers where α is per layer."""
        mean, spread = (
            part.reshape(len(self.experts), -1).mean(1).tolist()
            for part in (searching.mean, searching.spread)
        )
        population = members.reshape(len(members), len(self.experts), -1).mean(2)
        usable = scores[np.isfinite(scores)]
        generation = Generation(
            number=len(self.generations) + 1,
            best=searching.record.best_score,
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


def generation_tokens(
    examples: Sequence[Example], config: FewShotConfig, tail: int | None = None
) -> int:
    """Tokens of one generation after the first; a backward pass counts as two forward passes."""
    if config.needs_gradient:
        smaller = replace(config, batch_tokens=backward_tokens(config))
        return 3 * member_tokens(examples, smaller, tail)
    return config.population * member_tokens(examples, config, tail)


def search_tokens(
    examples: Sequence[Example], config: FewShotConfig, experts: int, tail: int | None = None
) -> int:
    """Tokens that a search over these examples processes if it runs to its last generation; the
    report's part is not in it.

    Args:
        tail: as of `Scorer`.
    """
    first = len(anchors(experts, config))
    if not config.needs_gradient:
        first = max(first, config.population)
    later = (config.generations - 1) * generation_tokens(examples, config, tail)
    heads = head_tokens(examples, config, tail)
    if config.needs_gradient and tail:  # its smaller packs are read anew
        heads += head_tokens(examples, replace(config, batch_tokens=backward_tokens(config)), tail)
    return heads + first * member_tokens(examples, config, tail) + later
