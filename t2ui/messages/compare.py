"""Several mixtures side by side: on one prompt, on many, and one without a layer at a time."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from t2ui.checks import Alpha, check_mixture, check_prompt, check_text
from t2ui.config import AnswerSettings, Sampling
from t2ui.errors import InputError
from t2ui.lineup import Lineup
from t2ui.records import Standing

# --- requests ------------------------------------------------------------------------------------


class _Columns:
    """A request in which every column of a line-up answers."""

    normalise: bool
    allow_transfer: bool
    scope: str
    sampling: Sampling

    @property
    def settings(self) -> AnswerSettings:
        """How each mixture answers."""
        return AnswerSettings(
            normalise=self.normalise,
            allow_transfer=self.allow_transfer,
            scope=self.scope,
            sampling=self.sampling,
        )


@dataclass(frozen=True)
class Sweep(_Columns):
    """Answer a prompt with every column, in one batch. Events: SweepTexts*, Swept."""

    prompt: str
    lineup: Lineup
    given: str = ""  # a text, the right answer say, whose log-likelihood is wanted
    normalise: bool = False
    allow_transfer: bool = False
    scope: str = ""  # of all columns; "": what all of their experts were trained for
    sampling: Sampling = field(default_factory=Sampling)
    session: str = ""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        check_text("the given text", self.given)


@dataclass(frozen=True)
class Trial(_Columns):
    """Let every column answer many questions, between other people's answers. Events: Queued*,
    Tried*."""

    questions: tuple[tuple[str, str], ...]  # (prompt, right answer)
    lineup: Lineup
    normalise: bool = False
    allow_transfer: bool = False
    scope: str = ""
    sampling: Sampling = field(default_factory=Sampling)
    session: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "questions", tuple((p, right) for p, right in self.questions))
        for number, (prompt, right) in enumerate(self.questions, start=1):
            check_prompt(prompt)
            check_text(f"the right answer of question {number}", right)
            if not right.strip():
                raise InputError(f"Question {number} has no right answer: type one.")


@dataclass(frozen=True)
class LayersOff:
    """How likely a text is behind a prompt without one layer of the mixture at a time.
    Event: LayersMeasured."""

    prompt: str
    text: str
    mixture: Mapping[str, Alpha]
    normalise: bool = False
    allow_transfer: bool = False
    scope: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        check_prompt(self.prompt)
        check_text("the text", self.text)
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


# --- events --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SweepTexts:
    """The answers so far, in the order of the columns."""

    texts: tuple[str, ...]


@dataclass(frozen=True)
class SweptColumn:
    """What one mixture, or a control of it, answers."""

    mixture: Mapping[str, Alpha]
    control: str  # a name of catalogue.CONTROLS; "": the mixture itself
    base_share: float  # 1 − Σα
    pieces: tuple[str, ...]  # the text that each token adds
    finished: str  # end | stop | length | failed
    log_likelihood: float | None  # of the given text, nats


@dataclass(frozen=True)
class Swept:
    """All answers, in the order of the columns."""

    columns: tuple[SweptColumn, ...]
    parts_at: int | None  # place of the first token that is not the same in all; None: all equal
    scope: str
    given_tokens: int
    seconds: float


@dataclass(frozen=True)
class Tried:
    """How all columns do on the questions so far, in the order of the columns."""

    columns: tuple[Standing, ...]
    seconds: float


@dataclass(frozen=True)
class LayersMeasured:
    """Σ log π of the text, nats."""

    base: float  # every layer off
    adapted: float  # none off
    without: tuple[float, ...]  # by layer: that one off
    tokens: int
    seconds: float
