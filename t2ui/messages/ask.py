"""An answer and what leads to it: pass one, the mixture, the text, the next token."""

from dataclasses import dataclass, field

from t2ui.config import DISPATCH_MODES, ROUTINGS, Sampling, check_alpha, check_prompt
from t2ui.errors import InputError, quoted


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
    # whose it is: answers under way are shared out fairly between sessions, and a session's own
    # experts are seen by its own requests alone
    session: str = ""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if self.dispatch not in DISPATCH_MODES:
            raise InputError(
                f"dispatch is {quoted(self.dispatch)}; expected {', '.join(DISPATCH_MODES)}."
            )
        if self.routing not in ROUTINGS:
            raise InputError(f"routing is {quoted(self.routing)}; expected {', '.join(ROUTINGS)}.")
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
    session: str = ""  # the newest request of a session replaces its older ones

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        for name, value in self.mixture.items():
            check_alpha(name, value)


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
