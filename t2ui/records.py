"""Plain data that the library makes and the page shows, defined once for both halves.

The library may not import messages, and the page may not import the library: what both name is
here. Every record pickles and knows no torch.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEAST_Z, MOST_Z = -1.0, 3.0  # what z of one component can be set to, to test it


@dataclass(frozen=True)
class Generation:
    """One generation of a search for coefficients α. Scores are the objective's; more is better.

    Where α is per layer, every α below is the mean over layers.
    """

    number: int  # from 1
    best: float  # the best member so far; scored again in every generation that holds it
    mean: float  # of this generation's scores
    spread: float  # their standard deviation
    alpha_mean: dict[str, float]  # of the distribution that the search draws from
    alpha_spread: dict[str, float]
    population: tuple[tuple[float, ...], ...]  # (members, experts)
    scores: tuple[float, ...]  # (members,); NaN where a member could not be scored
    tokens: int  # processed so far; a backward pass counts as two forward passes
    forward_passes: int  # so far
    seconds: float  # so far


@dataclass(frozen=True)
class Standing:
    """How one mixture, or a control of it, does on some questions."""

    right: tuple[bool | None, ...]  # by question; None: it has not answered yet
    interval: tuple[float, float]  # of the share that is right: 95 %, Wilson
    p: float | None  # exact paired McNemar test against the first column; None for that itself


@dataclass(frozen=True)
class Ends:
    """The tokens at the two ends of a direction, the furthest first, each with its score.

    The two ends belong together: what reads `along` writes `along`, what reads `against` writes
    `against`. Which of them is called which is arbitrary.
    """

    along: tuple[tuple[str, float], ...]
    against: tuple[tuple[str, float], ...]  # scores of the direction turned around, so positive
    chance: float  # what the best token of 95 of 100 random directions stays below


@dataclass(frozen=True)
class ComponentChoice:
    """Which single components are looked at, and what z of each is set to when it is tested."""

    module: str = "all"  # a kind ("attention", "mlp") or a matrix's own name ("up_proj")
    layer: int | None = None  # None: all
    by: str = "z"  # those with the largest |z − 1|, or by "sigma": with the largest σ |z − 1|
    count: int = 10
    chosen: tuple[tuple[str, int], ...] = ()  # (matrix, index): these instead
    at: float = 1.0  # the base model's: its change is switched off


@dataclass(frozen=True)
class NamedComponent:
    """One component σ u vᵀ of a matrix, what it is joined to, and the tokens at its ends.

    Tokens are named for what stands in the residual stream only: by the cosine of a token's
    embedding with what is read, by what is added to a token's logit with what is written.
    """

    name: str  # the matrix, in full
    index: int
    layer: int
    sigma: float
    z: float
    gap: float  # to the nearest neighbour's σ, as a share of σ
    unique: bool  # False: σ is nearly equal to a neighbour's, so its directions are not given
    reads_what: str  # "the residual stream", "the heads' values" …
    writes_what: str
    reads: Ends | None = None
    writes: Ends | None = None


@dataclass(frozen=True)
class ComponentsMeasured:
    """Components with their names, and what each does with a prompt and its answer."""

    components: tuple[NamedComponent, ...]
    scope: str = "all"  # which tokens the mixture acts on
    tokens: tuple[str, ...] = ()  # of the person's prompt, then of the answer but its last
    prompt_tokens: int = 0  # so many of them are the prompt's
    # (components, tokens): v · x, x as the matrix reads it under the mixture
    activity: tuple[tuple[float, ...], ...] = ()
    text: str = ""  # the answer that was scored: as given, or the mixture's own
    text_tokens: int = 0
    # Σ log π of the answer, nats; None without a prompt
    base: float | None = None  # by the base model
    adapted: float | None = None  # by the mixture
    changed: tuple[float, ...] = ()  # by component: by the mixture with its z set to `at`
    at: float = 1.0


@dataclass(frozen=True)
class Measured:
    """Right answers of an expert beside the base model's on one set, as the expert's file says."""

    expert: str
    set: str  # "arith test, chat"
    protocol: str  # how an answer was judged: greedy, sum …
    n: int  # rows
    base: float  # share of right answers
    right: float  # the expert's
    interval: tuple[float, float]  # of that, 95 %
    p: float | None  # of the paired test against the base model; None: the file does not say


@dataclass(frozen=True)
class Likeness:
    """Experts beside each other. Arrays are float64; NaN beside one that changes nothing there."""

    names: tuple[str, ...]  # (n,)
    cosine: np.ndarray  # (n, n) of z − 1 over all matrices: 1 alike, 0 unrelated, −1 opposite
    layers: tuple[int, ...]
    by_layer: np.ndarray  # (layers, n, n) the same over one layer's matrices
    overlap: np.ndarray  # (n, n) share of the most changed components that two have in common
    most: int  # how many those are of each
    chance: float  # the overlap of two that have nothing to do with each other
    size: np.ndarray  # (n,) root mean square of z − 1
    points: np.ndarray  # (n, 2) a map: near where the cosine is large
    kept: float  # the share of the squared distances that two dimensions keep
    measured: tuple[Measured, ...]
    left_out: int = 0  # experts beyond those that fit beside each other

    def plain(self) -> dict[str, Any]:
        """As JSON has it: arrays as lists, None where there is no number."""
        return {field: _plain(value) for field, value in asdict(self).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@dataclass(frozen=True)
class RightAnswers:
    """Which of n questions one mixture answered right."""

    right: tuple[bool, ...]  # by question
    low: float  # 95 % interval of the share of right answers
    high: float

    @property
    def count(self) -> int:
        return sum(self.right)


@dataclass(frozen=True)
class PairedTest:
    """The best entry of a contest against a rival, question by question."""

    won: int  # questions that only the entry answered right
    lost: int  # that only the rival did
    p: float  # two-sided exact McNemar test


@dataclass(frozen=True)
class Decision:
    """Mixtures that answered the same questions, and the best entry against each rival."""

    entries: tuple[RightAnswers, ...]
    rivals: tuple[RightAnswers, ...]
    best: int | None  # place of the entry with most right answers, the first of equals; None: none
    tests: tuple[PairedTest, ...]  # by rival; none without entries
