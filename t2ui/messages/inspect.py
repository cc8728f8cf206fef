"""The experts that there are, and a look inside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t2ui.checks import check_mixture, check_prompt, check_text
from t2ui.config import AnswerSettings
from t2ui.records import ComponentChoice


@dataclass(frozen=True)
class Heatmap:
    """z of a mixture minus z of another, by default of the base model, whose z is 1.

    An expert is the mixture {name: 1.0}. `module` is "all", a kind ("attention", "mlp") or a leaf
    name ("up_proj"). `rows` says what a row is: a "matrix", or all matrices of a "layer" or of a
    "kind" (q, k, v …) together. Event: HeatmapData.
    """

    mixture: dict[str, float]
    module: str = "all"
    normalise: bool = False
    session: str = ""  # its own experts can be looked at too
    minus: dict[str, float] = field(default_factory=dict)
    minus_normalise: bool = False
    layer: int | None = None  # None: all
    rows: str = "matrix"  # matrix | layer | kind


@dataclass(frozen=True)
class Component:
    """One matrix in detail. `name` is the full module name. Event: ComponentData."""

    name: str
    mixture: dict[str, float]
    normalise: bool = False
    session: str = ""


@dataclass(frozen=True)
class Components:
    """Single components, named by tokens and tested on a prompt and its answer. A slider for one of
    them is the same request with `choice.chosen` and `choice.at`. Event: ComponentsMeasured."""

    mixture: Mapping[str, float]
    choice: ComponentChoice = ComponentChoice()
    prompt: str = ""  # "": they are only named
    text: str = ""  # the answer that is tested; "": the mixture's own
    normalise: bool = False
    allow_transfer: bool = False
    scope: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        if self.prompt:
            check_prompt(self.prompt)
        check_text("the answer", self.text)
        object.__setattr__(self, "mixture", check_mixture(self.mixture))

    @property
    def settings(self) -> AnswerSettings:
        """With the mixture."""
        return AnswerSettings(
            self.mixture,
            normalise=self.normalise,
            allow_transfer=self.allow_transfer,
            scope=self.scope,
        )


@dataclass(frozen=True)
class CompareExperts:
    """How alike the experts are, and what each does to the others' tasks. Event: Likeness."""

    names: tuple[str, ...] = ()  # (): all of them
    session: str = ""

    def __post_init__(self) -> None:
        for name in self.names:
            check_text("an expert's name", name)


@dataclass(frozen=True)
class ExpertInfo:
    """One expert, as the app shows it."""

    name: str
    description: str
    labels: tuple[str, ...]
    kind: str  # expert | dispatcher
    parameters: int
    matrices: int
    base_model: str
    transfer: bool  # other fingerprint than the loaded model: a cross-model transfer
    metrics: list[dict[str, Any]]
    training: dict[str, Any]
    sha256: str
    file_name: str
    size_bytes: int
    scope: str = "all"  # which tokens it was trained to act on, one of config.SCOPES
    license: str = ""
    created: str = ""
    saved: bool = False  # by the page: it may be renamed, downloaded and deleted there


@dataclass(frozen=True)
class Experts:
    """The library: what loaded, and (file name, reason) for what did not.

    The worker sends it when it is ready and whenever the folder has changed; the client keeps the
    last one, so that nobody waits for the worker to see it.
    """

    experts: tuple[ExpertInfo, ...]
    problems: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]  # of pass one by prompt, in order, "others" last
    modules: tuple[str, ...]  # leaf names the model has, e.g. ("q_proj", …)
    layers: int
    dispatchers: tuple[str, ...] = ()  # those that can be used here without a transfer
    dispatch: str = ""  # the one that is used where nobody chooses
    session: str = ""  # whose list it is: with the session's own experts, "" for everybody's
    mixtures: tuple[str, ...] = ()  # names of those that are saved beside the experts


@dataclass(frozen=True)
class HeatmapData:
    """Differences of z by singular index, largest σ first; NaN past the end of a row.

    A row is a matrix and has its differences, or stands for several and has their mean absolute
    differences: signed ones would cancel out. `rows` says which; few matrices, and those that make
    one row only, are not taken together whatever was asked for.
    """

    names: tuple[str, ...]  # (rows,) of a matrix in full, else "3" (layer) or "mlp.up_proj" (kind)
    layers: tuple[int, ...]  # (rows,) −1 for a kind of matrix
    values: np.ndarray  # (rows, columns) float32; means over bins when bin_size > 1
    bin_size: int
    mean_abs: np.ndarray  # (rows,) mean absolute difference of all that the row stands for
    seconds: float
    rows: str = "matrix"  # matrix | layer | kind
    members: tuple[tuple[str, ...], ...] = ()  # (rows,) full names of the matrices, of taken ones
    signed: np.ndarray | None = None  # (rows, columns) of those: the means with their signs


@dataclass(frozen=True)
class ComponentData:
    """One matrix: σ, z, captured variance (paper, Appendix C), all by singular index."""

    name: str
    layer: int
    shape: tuple[int, int]
    sigma: np.ndarray  # (r,)
    z: np.ndarray  # (r,)
    captured: np.ndarray  # (r,) Σ_{i≤k} σ_i / Σ σ_i
    captured_adapted: np.ndarray  # (r,) the same of σ ⊙ |z|
    top: tuple[int, ...]  # indices of the ten largest |z − 1|
