"""What goes to the worker and what comes back: plain data that pickles, no tensors, no torch.

A request is answered by a stream of events that ends with exactly one `Done` or `Failed`.
Arrays are numpy, float32 unless said otherwise. Times are seconds, probabilities are in [0, 1].
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from t2ui.config import DISPATCH_MODES, ROUTINGS, Sampling, check_alpha, check_prompt
from t2ui.errors import InputError
from t2ui.messages_adapt import (
    Adapt,
    Adapted,
    EstimateAdapt,
    ExpertSaved,
    Generation,
    SaveExpert,
    SearchBegan,
    SearchEstimate,
)

# --- requests ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ask:
    """Answer a prompt with a mixture, beside the base model's answer when `compare`.

    With `dispatch` "none" the given `mixture` is used; otherwise pass one makes the mixture and
    `mixture` must be empty. Events: Queued*, Classified?, Mixed, Tokens*, Compared?, Done.
    """

    prompt: str
    mixture: dict[str, float] = field(default_factory=dict)
    dispatch: str = "none"  # prompt | expert | none
    routing: str = "hard"  # hard | soft
    threshold: float = 0.0  # below this probability the base model answers
    normalise: bool = False
    sampling: Sampling = field(default_factory=Sampling)
    compare: bool = True

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if self.dispatch not in DISPATCH_MODES:
            raise InputError(
                f"dispatch is {self.dispatch!r}; expected {', '.join(DISPATCH_MODES)}."
            )
        if self.routing not in ROUTINGS:
            raise InputError(f"routing is {self.routing!r}; expected {', '.join(ROUTINGS)}.")
        if not 0 <= self.threshold <= 1:
            raise InputError(f"threshold is {self.threshold}; expected between 0 and 1.")
        if self.dispatch != "none" and self.mixture:
            raise InputError("A mixture and a dispatcher were both given: choose one of them.")
        for name, value in self.mixture.items():
            check_alpha(name, value)


@dataclass(frozen=True)
class NextToken:
    """The most likely next tokens after the prompt, base beside mixture. Event: NextTokens."""

    prompt: str
    mixture: dict[str, float] = field(default_factory=dict)
    normalise: bool = False
    k: int = 6

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        for name, value in self.mixture.items():
            check_alpha(name, value)


@dataclass(frozen=True)
class ListExperts:
    """The library, read again from disk. Event: Experts."""


@dataclass(frozen=True)
class Heatmap:
    """z − 1 of an expert or a mixture (an expert is the mixture {name: 1.0}).

    `module` is "all", a kind ("attention", "mlp") or a leaf name ("up_proj"). Event: HeatmapData.
    """

    mixture: dict[str, float]
    module: str = "all"
    normalise: bool = False


@dataclass(frozen=True)
class Component:
    """One matrix in detail. `name` is the full module name. Event: ComponentData."""

    name: str
    mixture: dict[str, float]
    normalise: bool = False


Request = (
    Ask | NextToken | ListExperts | Heatmap | Component | Adapt | EstimateAdapt | SaveExpert
)

# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Queued:
    """`before` asks are before this one."""

    before: int


@dataclass(frozen=True)
class Classified:
    """Pass one. `probabilities` are calibrated against a content-free prompt, `raw` are not."""

    label: str  # most likely by `probabilities`
    probabilities: dict[str, float]
    raw: dict[str, float]
    said: str  # the model's own words, greedy, e.g. "\\boxed{code}"
    method: str  # prompt | expert
    seconds: float


@dataclass(frozen=True)
class Mixed:
    """The mixture that answers. `set_by` is a sentence part: "you", "classification expert, 0.93".

    `note` says what a person should know: below the threshold, a label without an expert,
    a cross-model transfer. Empty when there is nothing to say.
    """

    mixture: dict[str, float]
    base_share: float  # 1 − Σα
    set_by: str
    note: str = ""


@dataclass(frozen=True)
class Tokens:
    """New text of one pane. `pieces` joined over all events are the answer so far."""

    pane: str  # base | adapted
    pieces: tuple[str, ...]
    tokens: int  # so far, in this pane
    seconds: float  # since decoding of this request began


@dataclass(frozen=True)
class TokenShift:
    """One token of the adapted answer, and what the base model thought of it at that place."""

    text: str
    logprob: float  # adapted model, nats
    base_logprob: float  # base model on the same context, nats
    candidates: tuple[tuple[str, float], ...]  # adapted model's three most likely, probability
    base_candidates: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Compared:
    """Token by token after both answers ended. `first_difference` is None for equal answers."""

    shifts: tuple[TokenShift, ...]
    first_difference: int | None  # index of the first token that differs, from 0


@dataclass(frozen=True)
class NextTokens:
    """Candidates as (token text, base probability, mixture probability), by the larger of both."""

    candidates: tuple[tuple[str, float, float], ...]
    kl: float  # KL(mixture ‖ base), nats
    seconds: float


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


@dataclass(frozen=True)
class Experts:
    """The library: what loaded, and (file name, reason) for what did not."""

    experts: tuple[ExpertInfo, ...]
    problems: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]  # of pass one by prompt, in order, "others" last
    modules: tuple[str, ...]  # leaf names the model has, e.g. ("q_proj", …)
    layers: int


@dataclass(frozen=True)
class HeatmapData:
    """z − 1, one row a matrix, columns the singular index (largest first), NaN past a row's end."""

    names: tuple[str, ...]  # (rows,)
    layers: tuple[int, ...]  # (rows,)
    values: np.ndarray  # (rows, columns) float32; binned means when bin_size > 1
    bin_size: int
    mean_abs: np.ndarray  # (rows,) mean |z − 1| of each row
    seconds: float


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


@dataclass(frozen=True)
class Failed:
    """The request ended in an error: what happened, and what to do."""

    message: str
    remedy: str = ""


@dataclass(frozen=True)
class Done:
    """The request ended. `cancelled` when it was stopped.

    The receipt replays an Ask: token for token in float32, in 16 bits up to rounding, because the
    app decodes many requests in one batch.
    """

    cancelled: bool = False
    timings: dict[str, float] = field(default_factory=dict)
    receipt: dict[str, Any] | None = None


Event = (
    Queued | Classified | Mixed | Tokens | Compared | NextTokens | Experts | HeatmapData
    | ComponentData | SearchEstimate | SearchBegan | Generation | Adapted | ExpertSaved
    | Failed | Done
)

# --- the worker itself ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Status:
    """The worker's own state, always at hand from `client.status()`."""

    state: str  # loading | ready | busy | restarting | failed
    model: str
    device: str  # "" while loading
    detail: str = ""  # what is being loaded, or why it failed and what to do
    progress: float | None = None  # of loading, in [0, 1]
    running: int = 0  # asks being decoded, and the search under way
    queued: int = 0  # asks and searches waiting


@dataclass(frozen=True)
class Cancel:
    """Between client and worker only: stop a request."""


@dataclass(frozen=True)
class Begun:
    """Between client and worker only: the worker has taken a request up.

    What it had not begun when it dies is given to the next worker; what it had, is not.
    """
