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
STRANGE = 0.2  # the share of prompts that are taken to be of kinds that are not there
NOTHING = 1e-12  # the least squared distance
FAR = 50.0  # the logarithm of a ratio that is called endless
AT_ONCE = 512  # examples that are compared with all others together
FOLDS = 4  # examples are measured against those of other folds, as a new prompt is
POWERS = tuple(2.0 ** (k / 4) for k in range(41))  # 1 to 1024
# What `Certainty` is chosen from.
JUMPS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
STEEPNESS = (0.0, *(2.0 ** (k / 4) for k in range(-8, 29)))  # 0.25 to 128


Examples = Mapping[str, Tensor | Sequence[Tensor]]


@dataclass(frozen=True)
class Certainty:
    """How sure it is, on one side of a limit, that a prompt is of a kind (within) or of none
    (beyond): the log-odds of it, `jump` right at the limit and `steepness` more for each e-fold of
    the squared distance from it."""

    jump: float
    steepness: float

    def odds(self, away: Tensor) -> Tensor:
        return self.jump + self.steepness * away


UNSEEN = Certainty(2.0, 1.0)  # where no example tells


@dataclass(frozen=True)
class Kinds:
    """The kinds of prompt that there are, ready to be compared with."""

    labels: tuple[str, ...]  # of each group; `others` may be one
    whitening: Tensor  # (d, d) float64: what states are multiplied by
    examples: Tensor  # (n, d) float32, whitened, group by group
    sizes: tuple[int, ...]  # of the groups
    limits: Tensor  # (groups,) float64: squared distances beyond which a prompt is no such one
    # A kind is as likely as its squared distance to the minus `power`, the one that makes that true
    # for the examples. Ratios count, since a generator's kinds lie closer than people's.
    power: float
    # By group, since a generator's kind ends abruptly and all that people ask about code does not.
    within: tuple[Certainty, ...]
    beyond: Certainty

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
        limits = torch.stack([conformal_limit(d[:, i], refused) for i, d in enumerate(apart)])
        limits = limits.clamp(min=NOTHING)  # examples that are all the same
        right = torch.cat([torch.full((len(d),), i) for i, d in enumerate(apart)])
        distances = torch.cat(apart)
        whitening = _whitening(states)
        within, beyond = _certainty(distances, right, limits, kin)
        return cls(
            labels,
            whitening,
            (torch.cat(states) @ whitening).float(),
            tuple(map(len, states)),
            limits,
            _power(distances, kin[right]),
            within,
            beyond,
        )

    def probabilities(self, state: Tensor) -> dict[str, float]:
        """How likely each kind is for a state (d,), and, last, how likely none of them (`others`),
        which is the likelier one just beyond the nearest kind's limit. Within it none is never
        likelier than the likeliest kind, unless the prompt is like examples of `others`."""
        white = (state.double() @ self.whitening).float()[None]
        distances = _nearest(white, self.examples, self.sizes)[0].double()
        beyond = _beyond(distances[None], self.limits)[0]
        if beyond > 0:
            none = self.beyond.odds(beyond).sigmoid()
        else:
            none = (-self.within[int(distances.argmin())].odds(-beyond)).sigmoid()
        kinds = _shares(distances, self.power).softmax(0) * (1 - none)
        found = dict.fromkeys(self.labels, 0.0)
        for label, kind in zip(self.labels, kinds.tolist(), strict=True):
            found[label] += kind
        like_others = found.pop(OTHERS, 0.0)
        others, most = like_others + float(none), max(found.values(), default=0.0)
        if beyond <= 0 and like_others < most < others:
            # kinds that are hard to tell apart are kinds all the same
            whole, others = 1 - others + most, most
            return {label: p / whole for label, p in {**found, OTHERS: others}.items()}
        return {**found, OTHERS: others}


def _check(examples: Mapping[str, Sequence[Tensor]]) -> None:
    if not examples:
        raise InputError("There are no example prompts of any kind to compare with.")
    widths: dict[str, set[int]] = {}
    for label, groups in examples.items():
        if any(states.ndim != 2 for states in groups) or sum(map(len, groups)) < LEAST_EXAMPLES:
            raise InputError(
                f"The kind {label!r} has example states of shape "
                f"{', '.join(str(tuple(states.shape)) for states in groups)}; expected (n, width) "
                f"with n of at least {LEAST_EXAMPLES}."
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


def _nearest(white: Tensor, examples: Tensor, sizes: Sequence[int]) -> Tensor:
    """The mean squared distance to the nearest examples: (m, d), (n, d) -> (m, groups)."""
    means = [
        squared.topk(min(NEAREST, squared.shape[1]), largest=False).values.mean(1)
        for squared in torch.cdist(white, examples).square().split(list(sizes), dim=1)
    ]
    return torch.stack(means, dim=1)


def _as_new(states: list[Tensor]) -> list[Tensor]:  # by group, (n, groups)
    """How far every example lies from each group, if its own fold were not there."""
    found = [rows.new_empty(len(rows), len(states)) for rows in states]
    for fold in range(FOLDS):
        others = [rows[torch.arange(len(rows)) % FOLDS != fold] for rows in states]
        left = [rows[fold::FOLDS] for rows in states]
        whitening = _whitening(others)
        white, sizes = torch.cat(others) @ whitening, [len(rows) for rows in others]
        parts = (torch.cat(left) @ whitening).split(AT_ONCE)
        away = torch.cat([_nearest(part, white, sizes) for part in parts])
        for own, part in zip(found, away.split([len(rows) for rows in left]), strict=True):
            own[fold::FOLDS] = part
    return found


def conformal_limit(distances: Tensor, refused: float) -> Tensor:
    """The conformal quantile: of n examples and a new prompt alike, the new one lies beyond it at
    most so often; where n is too small to promise that, beyond all: once in n + 1 times."""
    rank = math.ceil((len(distances) + 1) * (1 - refused))
    return distances.sort().values[min(rank, len(distances)) - 1]


def _beyond(distances: Tensor, limits: Tensor) -> Tensor:  # (n, groups) -> (n,)
    """How far beyond the nearest kind's limit, as the logarithm of a ratio."""
    nearest, places = distances.min(1)
    return (nearest.clamp(min=NOTHING) / limits[places]).log().clamp(min=-FAR)


def _shares(distances: Tensor, power: float) -> Tensor:
    """Logits of the kinds by their squared distances, (…, groups) both."""
    return -power * distances.clamp(min=NOTHING).log()


def _power(distances: Tensor, own: Tensor) -> float:  # (n, groups) both, `own` bool
    """The one at which the right kinds, all groups of theirs, are likeliest on average."""

    def loss(power: float) -> float:
        likely = _shares(distances, power).log_softmax(1)
        return -float(likely.masked_fill(~own, -math.inf).logsumexp(1).mean())

    return min(POWERS, key=loss)


def _certainty(
    distances: Tensor, right: Tensor, limits: Tensor, kin: Tensor
) -> tuple[tuple[Certainty, ...], Certainty]:
    """Those at which it is likeliest that the examples are of some kind, and that they are of none
    where their own kind is not there: within each group's limit, and beyond all of them.

    Args:
        right: (n,), the group of each example.
        kin: (groups, groups) bool, whether two are of one kind.
    """
    away = distances.masked_fill(kin[right], float("inf"))
    nearest, instead = distances.argmin(1), away.argmin(1)  # with its kind there, and without
    inside, outside = _beyond(distances, limits), _beyond(away, limits)
    outside = outside.masked_fill(outside.isinf(), math.nan)  # there is no other kind: on no side
    within = tuple(
        _likeliest(
            -inside[(nearest == one) & (inside <= 0)],
            -outside[(instead == one) & (outside <= 0)],
            STRANGE,
        )
        for one in range(len(limits))
    )
    return within, _likeliest(outside[outside > 0], inside[inside > 0], 1 - STRANGE)


def _likeliest(true: Tensor, false: Tensor, share: float) -> Certainty:
    """The one that is likeliest where it is right about `true` and wrong about `false`, distances
    from the limit, (n,) each; `share` is what one of the latter weighs, of 1 for both."""
    if not len(true):
        return UNSEEN
    grid = torch.cartesian_prod(*(true.new_tensor(values) for values in (JUMPS, STEEPNESS)))
    jump, steepness = grid.T[..., None]

    def loss(odds: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-odds).sum(1)

    missed = loss(jump + steepness * true)
    mistaken = loss(-jump - steepness * false)
    best = grid[((1 - share) * missed + share * mistaken).argmin()]
    return Certainty(*best.tolist())
