"""An answer and what leads to it: pass one, the mixture, the text, the next token."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

from t2ui.catalogue import NO_DISPATCH
from t2ui.checks import Alpha, Turn, check_alpha, check_mixture, check_prompt, check_scope
from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError

MOST_SAMPLES = 8  # answers to one prompt at once
MOST_LOGPROBS = 20  # likeliest tokens that are told at each place


def tokens_hash(ids: Iterable[int]) -> str:
    """SHA-256 of token ids as decimal numbers with commas between: what a receipt can be checked
    by where texts are not kept."""
    return sha256(",".join(map(str, ids)).encode()).hexdigest()


@dataclass(frozen=True)
class Ask:
    """Answer a prompt, beside the base model's answer when `compare`.

    A given `mixture` answers; without one `dispatch` makes it, and "" leaves the choice of the
    dispatcher to the worker, which knows what is loaded (see `AnswerSettings`, where every
    setting is described). Events: Queued*, Classified?, Mixed, Reading*, Tokens*, Compared?, Done.
    """

    prompt: str
    mixture: Mapping[str, Alpha] | None = None
    dispatch: str = AnswerSettings.dispatch
    routing: str = AnswerSettings.routing
    threshold: float = AnswerSettings.threshold
    normalise: bool = AnswerSettings.normalise
    sampling: Sampling = field(default_factory=Sampling)
    compare: bool = True
    # without `compare`: the base model's last answer to the prompt, if the session has one, is
    # compared with as it stands
    compare_with_last: bool = False
    allow_transfer: bool = AnswerSettings.allow_transfer
    scope: str = AnswerSettings.scope
    # whose it is: answers under way are shared out fairly between sessions, and a session's own
    # experts are seen by its own requests alone
    session: str = ""
    before: tuple[Turn, ...] = AnswerSettings.before
    plain: bool = AnswerSettings.plain
    saved: str = ""  # the name of a mixture that is saved with the experts: it answers
    samples: int = 1  # answers, each with the next seed
    # log-likelihoods come with the tokens, and so many of the likeliest at each place; None: none
    logprobs: int | None = None
    whole: bool = False  # the text is handed out at the answer's end, not while it is written

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        if self.saved and self.mixture is not None:
            raise InputError("A saved mixture and coefficients were both given: choose one.")
        if not 1 <= self.samples <= MOST_SAMPLES:
            raise InputError(f"samples is {self.samples}; expected between 1 and {MOST_SAMPLES}.")
        if not 0 <= (self.logprobs or 0) <= MOST_LOGPROBS:
            raise InputError(
                f"logprobs is {self.logprobs}; expected between 0 and {MOST_LOGPROBS}."
            )
        object.__setattr__(self, "dispatch", self.settings.dispatch)  # checks all of them

    @property
    def settings(self) -> AnswerSettings:
        """All that is set of the answer."""
        return AnswerSettings(
            self.mixture,
            self.dispatch,
            self.routing,
            self.threshold,
            self.normalise,
            self.allow_transfer,
            self.scope,
            self.sampling,
            before=self.before,
            plain=self.plain,
        )

    @property
    def has_pass_one(self) -> bool:
        """Whether a dispatcher reads the prompt first."""
        given = self.mixture is not None or bool(self.saved)
        return not given and self.dispatch != NO_DISPATCH

    @property
    def rows(self) -> int:
        """How many rows of the batch it takes."""
        return self.samples + self.compare


@dataclass(frozen=True)
class Steer:
    """Let an answer under way go on with other coefficients, from its next token on. The Ask's
    other settings stay. Its own job's events: Done or Failed; the answer's job gets Steered."""

    job_id: str  # of the Ask
    mixture: Mapping[str, Alpha] = field(default_factory=dict)
    session: str = ""  # whose it is: nobody else's answer can be steered
    normalise: bool = False  # divide these coefficients by their sum
    allow_transfer: bool = False  # besides the Ask's own leave
    scope: str = ""  # one of config.SCOPES: refused where the answer has another; "": the answer's

    def __post_init__(self) -> None:
        object.__setattr__(self, "mixture", check_mixture(self.mixture))
        if self.scope != "":
            check_scope(self.scope)


@dataclass(frozen=True)
class NextToken:
    """The most likely next tokens after the prompt, base beside mixture. Event: NextTokens."""

    prompt: str
    mixture: dict[str, float] = field(default_factory=dict)
    normalise: bool = False
    k: int = 6
    allow_transfer: bool = False
    scope: str = ""  # one of config.SCOPES; "": what the mixture's experts were trained for
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
    method: str  # the dispatcher, a name of catalogue.DISPATCHERS
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
    scope: str = "all"  # which tokens it acts on, one of config.SCOPES


@dataclass(frozen=True)
class Steered:
    """From the adapted answer's token at this place on, counted from 0, another mixture answers.

    All text of the tokens before has been sent by then, but for the first token's: it may still
    be on its way.
    """

    token: int
    mixture: Mapping[str, float]  # as it acts: already divided where it is normalised
    base_share: float  # 1 − Σα


@dataclass(frozen=True)
class Reading:
    """How far a long prompt is read."""

    tokens: int
    of: int


@dataclass(frozen=True)
class Tokens:
    """New text of one pane. `pieces` joined over all events are the answer so far."""

    pane: str  # base | adapted
    pieces: tuple[str, ...]  # one for each token, "" where its text comes with a later one
    tokens: int  # so far, in this pane
    seconds: float  # since decoding of this request began
    sample: int = 0  # which of the adapted answers, from 0
    scored: tuple["TokenScore", ...] = ()  # of the new text, where the Ask wants `logprobs`


@dataclass(frozen=True)
class TokenScore:
    """A token of an answer with its log-likelihood under the model that wrote it, in nats, before
    temperature and top-p."""

    text: str  # of this token alone: U+FFFD where it is a part of a character
    logprob: float
    top: tuple[tuple[str, float], ...] = ()  # the likeliest tokens at this place and their own


@dataclass(frozen=True)
class Ending:
    """How one of the answers ended."""

    pane: str  # base | adapted
    sample: int
    finished: str  # end (its end token) | stop (a stop string) | length | "" (it was stopped)
    tokens: int  # written, the end token included
    prompt_tokens: int
    sha256: str  # `tokens_hash` of its token ids, without the end token


@dataclass(frozen=True)
class TokenShift:
    """One token of the adapted answer, and what the base model thought of it at that place."""

    text: str
    logprob: float  # adapted model, nats
    base_logprob: float  # base model on the same context, nats
    candidates: tuple[tuple[str, float], ...]  # adapted model's three most likely, probability
    base_candidates: tuple[tuple[str, float], ...]
    # KL(adapted ‖ base) of the two distributions at its place, nats; None in older records
    kl: float | None = None


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
    left_out: int = 0  # tokens in the middle of a long prompt that were not read for this
    # (option, chance under the base model, under the mixture) where the prompt ends in a list of
    # them: of these alone, by the likelihood of each as the answer to the question without the list
    options: tuple[tuple[str, float, float], ...] = ()
