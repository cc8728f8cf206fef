"""Which kind of prompt a state of the model is nearest to, and whether it is near any at all.

A Gaussian for each kind around the mean of its examples, all with one covariance (linear
discriminant analysis), which is shrunk towards a multiple of the identity as Ledoit and Wolf (2004)
do, since there are more numbers in a state than examples. What lies further from its nearest kind
than all but a stated share of that kind's own examples is none of them (conformal prediction); so
is what is nearest to examples of `others`, where there are some. Nothing is trained: a kind joins
by its examples. Knows numbers only, no prompts and no model.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from t2ui.config import OTHERS
from t2ui.errors import InputError

LEAST_EXAMPLES = 8  # of a kind; from fewer no distance can be called usual
WRONGLY_REFUSED = 0.05  # the share of a kind's own prompts that may be called none of the kinds
SURE = 6.0  # log-odds against none of the kinds where a state lies as far out as is usual
TEMPERATURES = tuple(2.0 ** (k / 4) for k in range(-4, 33))  # 0.5 to 256


@dataclass(frozen=True)
class Kinds:
    """The kinds of prompt that there are, ready to be compared with."""

    labels: tuple[str, ...]  # `others` may be one
    centre: Tensor  # (d,) float64, the mean of all examples
    whitening: Tensor  # (d, d) float64: behind it, distances are Mahalanobis distances
    means: Tensor  # (labels, d) float64, whitened
    limits: Tensor  # (labels,) float64: squared distances beyond which a prompt is no such one
    usual: Tensor  # (labels,) float64: the median squared distance of a kind's own examples
    temperature: float  # that makes the examples' probabilities true, each left out in turn

    @classmethod
    def of(cls, examples: Mapping[str, Tensor], refused: float = WRONGLY_REFUSED) -> "Kinds":
        """From example states, (n, d) each, by label.

        Args:
            refused: the share of a kind's own prompts that may be called none of them.

        Raises:
            InputError: no kind at all, too few examples of one, or states of different widths.
        """
        _check(examples)
        labels = tuple(examples)
        states = {label: examples[label].double() for label in labels}
        centre = torch.cat([*states.values()]).mean(0)
        within = torch.cat([s - s.mean(0) for s in states.values()])
        freedom = len(within) - len(labels)
        whitening, kept = _whitening(within, freedom)
        white = [(s - centre) @ whitening for s in states.values()]
        means = torch.stack([w.mean(0) for w in white])
        share = kept / freedom
        apart = [_left_out(w, means, number, share) for number, w in enumerate(white)]
        limits = torch.stack([_limit(d[:, i], refused) for i, d in enumerate(apart)])
        usual = torch.stack([d[:, i].median() for i, d in enumerate(apart)])
        right = torch.cat([torch.full((len(d),), i) for i, d in enumerate(apart)])
        temperature = _temperature(torch.cat(apart), right)
        return cls(labels, centre, whitening, means, limits, usual, temperature)

    def probabilities(self, state: Tensor) -> dict[str, float]:
        """How likely each kind is for a state (d,), and, last, how likely none of them (`others`),
        which is as likely as not just at the nearest kind's limit."""
        white = (state.double() - self.centre) @ self.whitening
        distances = (white - self.means).square().sum(1)
        near = int(distances.argmin())
        limit, usual = self.limits[near], self.usual[near]
        # in steps of how far the limit lies from what is usual
        beyond = (distances[near] - limit) / (limit - usual).clamp(min=1e-9)
        none = (SURE * beyond).sigmoid() if torch.isfinite(limit) else limit.new_zeros(())
        kinds = (-distances / (2 * self.temperature)).softmax(0) * (1 - none)
        found = dict(zip(self.labels, kinds.tolist(), strict=True))
        found[OTHERS] = found.pop(OTHERS, 0.0) + float(none)
        return found


def _check(examples: Mapping[str, Tensor]) -> None:
    if not examples:
        raise InputError("There are no example prompts of any kind to compare with.")
    for label, states in examples.items():
        if states.ndim != 2 or len(states) < LEAST_EXAMPLES:
            raise InputError(
                f"The kind {label!r} has example states of shape {tuple(states.shape)}; expected "
                f"(n, width) with n of at least {LEAST_EXAMPLES}."
            )
    widths = {label: states.shape[1] for label, states in examples.items()}
    if len(set(widths.values())) > 1:
        raise InputError(f"The kinds' example states have different widths ({widths}).")


def _whitening(within: Tensor, freedom: int) -> tuple[Tensor, float]:
    """The symmetric square root of the shrunken covariance's inverse, (d, d), and which part of
    the covariance the shrinking left.

    Args:
        within: (n, d), every example less the mean of its kind.
        freedom: n less the number of kinds.
    """
    n, d = within.shape
    covariance = within.T @ within / freedom
    size = covariance.diagonal().mean()
    spread = (covariance - size * torch.eye(d, dtype=covariance.dtype)).square().sum()
    # how far one example's own product lies from the covariance, on average (Ledoit and Wolf)
    noise = (within.square().sum(1).square().sum() / n - covariance.square().sum()) / n
    shrunk = float((noise / spread).clamp(0, 1)) if float(spread) > 0 else 1.0
    values, vectors = torch.linalg.eigh(covariance)
    values = (1 - shrunk) * values.clamp(min=0) + shrunk * size
    values = values.clamp(min=float(size) * 1e-6 + 1e-12)
    return vectors @ (vectors / values.sqrt()).T, 1 - shrunk


def _left_out(white: Tensor, means: Tensor, own: int, share: float) -> Tensor:  # (n, labels)
    """Squared distances of a kind's examples, each measured without its own part in its kind's
    mean and in the covariance (Sherman and Morrison's formula).

    Args:
        share: of the product of one example with itself, in the shrunken covariance.
    """
    factor = len(white) / (len(white) - 1)  # of the mean that the example was taken out of
    from_own = white - means[own]
    distances = torch.cdist(white, means).square()
    together = from_own.square().sum(1, keepdim=True) - from_own @ (means - means[own]).T
    distances[:, own] *= factor**2
    together[:, own] *= factor
    part = share * factor
    taken = (1 - part * from_own.square().sum(1, keepdim=True)).clamp(min=1e-6)
    return distances + part * together.square() / taken


def _limit(distances: Tensor, refused: float) -> Tensor:
    """The conformal quantile: of n examples and a new prompt alike, the new one lies beyond it at
    most so often; endless where n is too small to promise that."""
    rank = int(torch.ceil(torch.tensor((len(distances) + 1) * (1 - refused), dtype=torch.float64)))
    if rank > len(distances):
        return distances.new_tensor(float("inf"))
    return distances.sort().values[rank - 1]


def _temperature(distances: Tensor, right: Tensor) -> float:
    """The one at which the right kinds are likeliest on average."""

    def loss(temperature: float) -> float:
        scores = -distances / (2 * temperature)
        return float(torch.nn.functional.cross_entropy(scores, right))

    return min(TEMPERATURES, key=loss)
