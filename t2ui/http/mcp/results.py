"""What the tools give back: plain records, from which clients read a schema."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ExpertEntry:
    """An expert that can take part in a mixture."""

    name: str
    description: str
    labels: list[str]  # the kinds of prompts that pass one gives it
    scales: int  # singular values that it has a factor for
    sha256: str


@dataclass(frozen=True)
class Library:
    """What there is to mix."""

    model: str
    experts: list[ExpertEntry]
    mixtures: list[str]  # saved ones, for the argument `saved`
    labels: list[str]  # what pass one can find
    dispatchers: list[str]  # ways to run pass one
    default_dispatcher: str


@dataclass(frozen=True)
class Answer:
    """An answer, and how it came about."""

    text: str
    base_text: str | None  # the base model's own answer, where it was asked for
    label: str | None  # what pass one found; none without it
    probabilities: dict[str, float]
    mixture: dict[str, float]  # coefficient by expert; the base model keeps the rest
    set_by: str
    scope: str
    note: str
    receipt: str  # `t2ui replay` gives the answer again


@dataclass(frozen=True)
class Adapted:
    """The mixture that a search has found."""

    mixture: dict[str, float]
    found_by: str
    report: str  # which examples `before` and `after` were measured on
    before: float | None  # the base model's score on them; larger is better
    after: float | None
    seconds: float


@dataclass(frozen=True)
class ChangedRow:
    """How much an expert moves a matrix, or a group of them."""

    name: str
    mean_change: float  # mean of |z − 1| over its singular values


@dataclass(frozen=True)
class Changes:
    """What an expert does to the model, the most changed first."""

    expert: str
    by: str
    rows: list[ChangedRow]
    left_out: int  # further rows, changed less


@dataclass(frozen=True)
class ChangedValue:
    """One singular value of a matrix."""

    index: int  # from 0, the largest singular value first
    singular_value: float
    scale: float  # z: the expert multiplies the singular value by it


@dataclass(frozen=True)
class MatrixChanges:
    """What an expert does to one matrix: the singular values that it moves most."""

    expert: str
    matrix: str
    shape: list[int]
    values: list[ChangedValue]
