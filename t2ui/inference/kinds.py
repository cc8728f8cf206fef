"""Which kind of prompt a state of the model is nearest to, and whether it is near any at all.

A state belongs to the kind of the examples that it lies nearest to (the mean squared distance to
three of them), where distances count for less along directions in which examples of one kind differ
anyway: the covariance within kinds, shrunk towards a multiple of the identity, since there are more
numbers in a state than examples. Nearest examples and not the kinds' means, because a wide kind, as
all that people ask about code, is near everything by its mean. What lies further from its nearest
kind than all but a stated share of that kind's own examples is none of them (conformal prediction);
so is what is nearest to examples of `others`, where there are some. A kind may have several groups
of examples, as a generator's wording and people's, with a limit each: one for both would let
strangers in between. Nothing is trained: a kind joins by its examples. Knows numbers only, no
prompts and no model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2ui.config import OTHERS
from t2ui.errors import InputError

LEAST_EXAMPLES = 8  # of a kind; from fewer no distance can be called usual
WRONGLY_REFUSED = 0.03  # the share of a kind's own prompts that may be called none of the kinds
LEAST_IN_A_GROUP = 33  # from fewer no limit can promise that share
NEAREST = 3  # examples of a kind that a distance is the mean of
SHRUNK = 0.6  # the identity's share in the covariance: found on held-out prompts
STRANGE = 0.1  # the share of prompts that are taken to be of kinds that are not there
FAR = 50.0  # the logarithm of a ratio that is called endless
FOLDS = 4  # examples are measured against those of other folds, as a new prompt is
TEMPERATURES = tuple(2.0 ** (k / 4) for k in range(-4, 49))  # 0.5 to 4096
STEEPNESS = tuple(2.0 ** (k / 4) for k in range(-8, 29))  # 0.25 to 128


Examples = Mapping[str, Tensor | Sequence[Tensor]]


@dataclass(frozen=True)
class Kinds:
    """The kinds of prompt that there are, ready to be compared with."""

    labels: tuple[str, ...]  # of each group; `others` may be one
    whitening: Tensor  # (d, d) float64: what states are multiplied by
    examples: tuple[Tensor, ...]  # by group, (n, d) float64, whitened
    limits: Tensor  # (groups,) float64: squared distances beyond which a prompt is no such one
    temperature: float  # that makes the probabilities of the kinds true for the examples
    # How soon none gets unlikely within a group's limit, by group, since a generator's kind ends
    # abruptly and all that people ask about code does not; and how soon likely beyond all limits.
    within: tuple[float, ...]
    beyond: float

    @classmethod
    def of(cls, examples: Examples, refused: float = WRONGLY_REFUSED) -> "Kinds":
        """From example states by label: (n, d), or several such groups.

        Args:
            refused: the share of a kind's own prompts that may be called none of them.

        Raises:
            InputError: no kind at all, too few examples of one, or states of different widths.
        """
        given = {x: [rows] if isinstance(rows, Tensor) else rows for x, rows in examples.items()}
        _check(given)
        grouped = [(x, rows) for x, groups in given.items() for rows in _with_limits(groups)]
        labels, states = tuple(x for x, _ in grouped), [rows.double() for _, rows in grouped]
        kin = torch.tensor([[one == other for other in labels] for one in labels])
        apart = _as_new(states)
        limits = torch.stack([_limit(d[:, i], refused) for i, d in enumerate(apart)])
        right = torch.cat([torch.full((len(d),), i) for i, d in enumerate(apart)])
        distances = torch.cat(apart)
        whitening = _whitening(states)
        within, beyond = _steepness(distances, right, limits, kin)
        return cls(
            labels,
            whitening,
            tuple(rows @ whitening for rows in states),
            limits,
            _temperature(distances, kin[right]),
            within,
            beyond,
        )

    def probabilities(self, state: Tensor) -> dict[str, float]:
        """How likely each kind is for a state (d,), and, last, how likely none of them (`others`),
        which is as likely as not just at the nearest kind's limit."""
        white = (state.double() @ self.whitening)[None]
        distances = torch.cat([_nearest(white, rows) for rows in self.examples])
        beyond = _beyond(distances[None], self.limits)[0]
        steepness = self.beyond if beyond > 0 else self.within[int(distances.argmin())]
        none = (steepness * beyond).sigmoid()
        kinds = (-distances / (2 * self.temperature)).softmax(0) * (1 - none)
        found = dict.fromkeys(self.labels, 0.0)
        for label, kind in zip(self.labels, kinds.tolist(), strict=True):
            found[label] += kind
        found[OTHERS] = found.pop(OTHERS, 0.0) + float(none)
        return found


def _check(examples: Mapping[str, Sequence[Tensor]]) -> None:
    if not examples:
        raise InputError("There are no example prompts of any kind to compare with.")
    widths: dict[str, set[int]] = {}
    for label, groups in examples.items():
        for states in groups:
            if states.ndim != 2 or len(states) < LEAST_EXAMPLES:
                raise InputError(
                    f"The kind {label!r} has example states of shape {tuple(states.shape)}; "
                    f"expected (n, width) with n of at least {LEAST_EXAMPLES}."
                )
        widths[label] = {states.shape[1] for states in groups}
    if len(set().union(*widths.values())) > 1:
        raise InputError(f"The kinds' example states have different widths ({widths}).")


def _with_limits(groups: Sequence[Tensor]) -> Sequence[Tensor]:
    """A kind's groups; one where one of several is too small to have a limit."""
    small = any(len(one) < LEAST_IN_A_GROUP for one in groups)
    return [torch.cat(list(groups))] if small else groups


def _whitening(states: list[Tensor]) -> Tensor:
    """The square root of the shrunken covariance's inverse, (d, d)."""
    within = torch.cat([rows - rows.mean(0) for rows in states])
    covariance = within.T @ within / max(1, len(within) - len(states))
    size = covariance.diagonal().mean().clamp(min=1e-12)
    values, vectors = torch.linalg.eigh(covariance)
    return vectors / ((1 - SHRUNK) * values.clamp(min=0) + SHRUNK * size).sqrt()


def _nearest(white: Tensor, rows: Tensor) -> Tensor:  # (m, d), (n, d) -> (m,)
    """The mean squared distance to the nearest examples."""
    squared = torch.cdist(white, rows).square()
    return squared.topk(min(NEAREST, len(rows)), largest=False).values.mean(1)


def _as_new(states: list[Tensor]) -> list[Tensor]:  # by group, (n, groups)
    """How far every example lies from each group, if its own fold were not there."""
    found = [rows.new_empty(len(rows), len(states)) for rows in states]
    for fold in range(FOLDS):
        others = [rows[torch.arange(len(rows)) % FOLDS != fold] for rows in states]
        whitening = _whitening(others)
        white = [rows @ whitening for rows in others]
        for own, rows in zip(found, states, strict=True):
            left = rows[fold::FOLDS] @ whitening
            own[fold::FOLDS] = torch.stack([_nearest(left, other) for other in white], dim=1)
    return found


def _limit(distances: Tensor, refused: float) -> Tensor:
    """The conformal quantile: of n examples and a new prompt alike, the new one lies beyond it at
    most so often; endless where n is too small to promise that."""
    rank = int(torch.ceil(torch.tensor((len(distances) + 1) * (1 - refused), dtype=torch.float64)))
    if rank > len(distances):
        return distances.new_tensor(float("inf"))
    return distances.sort().values[rank - 1]


def _beyond(distances: Tensor, limits: Tensor) -> Tensor:  # (n, groups) -> (n,)
    """How far beyond the nearest kind's limit, as the logarithm of a ratio."""
    nearest, places = distances.min(1)
    return (nearest.clamp(min=1e-12) / limits[places]).log().clamp(min=-FAR)


def _temperature(distances: Tensor, own: Tensor) -> float:  # (n, groups) both, `own` bool
    """The one at which the right kinds, all groups of theirs, are likeliest on average."""

    def loss(temperature: float) -> float:
        likely = (-distances / (2 * temperature)).log_softmax(1)
        return -float(likely.masked_fill(~own, -math.inf).logsumexp(1).mean())

    return min(TEMPERATURES, key=loss)


def _steepness(
    distances: Tensor, right: Tensor, limits: Tensor, kin: Tensor
) -> tuple[tuple[float, ...], float]:
    """Those at which it is likeliest that the examples are of some kind, and that they are of none
    where their own kind is not there: within each group's limit, and beyond all of them.

    Args:
        right: (n,), the group of each example.
        kin: (groups, groups) bool, whether two are of one kind.
    """
    away = distances.masked_fill(kin[right], float("inf"))
    inside, outside = _beyond(distances, limits), _beyond(away, limits)
    nearest, instead = distances.argmin(1), away.argmin(1)  # with its kind there, and without

    def loss(steepness: float, there: Tensor, missing: Tensor) -> float:
        softplus = torch.nn.functional.softplus
        of_a_kind, of_none = softplus(steepness * there), softplus(-steepness * missing)
        return float((1 - STRANGE) * of_a_kind.sum() + STRANGE * of_none.sum())

    def best(there: Tensor, missing: Tensor) -> float:
        return min(STEEPNESS, key=lambda steepness: loss(steepness, there, missing))

    within = tuple(
        best(inside[(nearest == one) & (inside <= 0)], outside[(instead == one) & (outside <= 0)])
        for one in range(len(limits))
    )
    return within, best(inside[inside > 0], outside[outside > 0])
