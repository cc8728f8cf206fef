"""Settings as frozen dataclasses, checked when they are made. Knows nothing of torch or gradio."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from t2ui.catalogue import (
    BASELINES,
    DISPATCHERS,
    NO_DISPATCH,
    SEARCH_METHODS,
    TRAIN_OBJECTIVES,
)
from t2ui.checks import (
    ALPHA_LIMIT,
    Alpha,
    Turn,
    check_choice,
    check_mixture,
    check_range,
    check_scope,
    check_text,
    check_turns,
)
from t2ui.errors import InputError, quoted

DEFAULT_MODEL = "smollm2-135m-instruct"
DEFAULT_ON_HUB = "HuggingFaceTB/SmolLM2-135M-Instruct"  # whose weights the default model has
LEAST_SUM = 1e-6  # coefficients that sum to less in magnitude are not divided by their sum
SLIDER_LOW, SLIDER_HIGH = -1.0, 2.0  # what the app offers of one coefficient
ALPHA_DECIMALS = 6  # of a coefficient that answers from the app
MAX_STRENGTH = 2.0  # what the app offers of the factor on all of them
LEAST_TEMPERATURE = 0.001  # but for 0; logits divided by less leave float32
ROUTINGS = ("hard", "soft")
DATA_VARIABLE = "T2UI_DATA"  # what `--data` is where it is left out
OTHERS = "others"  # the label that keeps the base model (paper, section 3.2)


def hub_name(model: str) -> str:
    """What the hub calls a model; a name that is not on it stays."""
    return DEFAULT_ON_HUB if model == DEFAULT_MODEL else model


def default_cache_dir() -> Path:
    """`T2UI_CACHE`, or `t2ui` in the user's cache directory."""
    if os.environ.get("T2UI_CACHE"):
        return Path(os.environ["T2UI_CACHE"]).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).expanduser() / "t2ui"


def default_data_dir() -> Path | None:
    """The folder of public task data that `T2UI_DATA` names; None where it is not set."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named).expanduser() if named else None


def shipped_folder(folder: str) -> Path:
    """`assets` or `experts`: inside the package once installed, beside it in a checkout."""
    package = Path(__file__).resolve().parent
    installed = package / "_shipped" / folder
    return installed if installed.is_dir() else package.parent / folder


def default_experts_dir() -> Path:
    """The `experts` folder that ships with the project."""
    return shipped_folder("experts")


@dataclass(frozen=True)
class Sampling:
    """How one row is decoded. `temperature` 0 is greedy; then seed, top_p and top_k do nothing."""

    max_new_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0  # 0: all tokens
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_range("max_new_tokens", self.max_new_tokens, 1, 4096)
        check_range("temperature", self.temperature, 0, 5)
        if 0 < self.temperature < LEAST_TEMPERATURE:
            raise InputError(
                f"temperature is {self.temperature}; expected 0 (greedy) or at least "
                f"{LEAST_TEMPERATURE:g}."
            )
        check_range("top_p", self.top_p, 1e-6, 1)
        check_range("top_k", self.top_k, 0, 1_000_000)
        check_range("seed", self.seed, 0, 2**63 - 1)
        for what in ("max_new_tokens", "top_k", "seed"):
            if getattr(self, what) != int(getattr(self, what)):
                raise InputError(f"{what} is {getattr(self, what)}; a whole number is expected.")
            object.__setattr__(self, what, int(getattr(self, what)))
        if any(not isinstance(s, str) or not s for s in self.stop):
            raise InputError(f"stop is {quoted(self.stop)}; expected non-empty strings.")
        for text in self.stop:
            check_text("a stop string", text)


@dataclass(frozen=True)
class AnswerSettings:
    """How one prompt is answered: the same at every door (library, command line, page, HTTP)."""

    mixture: Mapping[str, Alpha] | None = None  # given: it answers, and dispatch is NO_DISPATCH
    dispatch: str = ""  # a name of catalogue.DISPATCHERS; "": `inference.plan.default_dispatch`
    routing: str = "hard"  # hard: α = 1 for the best label's expert; soft: α = probabilities
    threshold: float = 0.0  # the base model answers where the best probability is below it
    normalise: bool = False  # divide the coefficients by their sum
    allow_transfer: bool = False  # use experts made for other weights of the same shapes
    scope: str = ""  # one of SCOPES; "": the one that the mixture's experts were trained for
    sampling: Sampling = field(default_factory=Sampling)
    # (place, mixture), by place: from the answer's token at that place on, counted from 0 and at
    # least 1, this mixture answers, as it is: `normalise` is for the first one alone.
    timeline: tuple[tuple[int, Mapping[str, Alpha]], ...] = ()
    # what was said before the prompt: the chat format takes the whole conversation, pass one reads
    # the prompt alone
    before: tuple[Turn, ...] = ()
    plain: bool = False  # the model goes on writing the prompt, without any chat format

    def __post_init__(self) -> None:
        if self.scope != "":
            check_scope(self.scope)
        object.__setattr__(self, "timeline", _checked_timeline(self.timeline))
        object.__setattr__(self, "before", check_turns(self.before))
        if self.plain and self.before:
            raise InputError(
                "A conversation and a plain text to go on with were both given: choose one of them."
            )
        if self.dispatch:
            check_choice("dispatch", self.dispatch, tuple(DISPATCHERS))
        check_choice("routing", self.routing, ROUTINGS)
        check_range("threshold", self.threshold, 0, 1)
        for what in ("normalise", "allow_transfer", "plain"):
            if not isinstance(getattr(self, what), bool):
                raise InputError(
                    f"{what} is {quoted(getattr(self, what))}; expected true or false."
                )
        if self.mixture is not None:
            if self.dispatch not in ("", NO_DISPATCH):
                raise InputError("A mixture and a dispatcher were both given: choose one of them.")
            object.__setattr__(self, "mixture", check_mixture(self.mixture))
            object.__setattr__(self, "dispatch", NO_DISPATCH)


def _checked_timeline(timeline: Any) -> tuple[tuple[int, Mapping[str, Alpha]], ...]:
    """A timeline as it came from a receipt.

    Raises:
        InputError: no list of places, each after the one before, with mixtures.
    """
    try:
        pairs = [(place, dict(mixture)) for place, mixture in timeline]
    except (TypeError, ValueError):
        pairs = [(0, {})]
    places = [place for place, _ in pairs]
    whole = all(isinstance(place, int) and not isinstance(place, bool) for place in places)
    if not whole or places != sorted(set(places)) or (places and places[0] < 1):
        raise InputError(
            f"The timeline is {quoted(timeline)}; expected pairs of a token's place, from 1 on and "
            "each after the one before, and a mixture: take the receipt as it was written."
        )
    return tuple((place, check_mixture(mixture)) for place, mixture in pairs)


@dataclass(frozen=True)
class WorkerConfig:
    """What the worker process loads and how much it takes on at once."""

    model: str = DEFAULT_MODEL
    experts_dir: Path = field(default_factory=default_experts_dir)
    device: str = "auto"
    dtype: str = "auto"
    cache_dir: Path = field(default_factory=default_cache_dir)
    max_rows: int = 16  # rows decoded in one batch; further requests queue
    max_queue: int = 200
    sessions_dir: Path | None = None  # public: what each visitor saves, and nobody writes elsewhere
    tenants_dir: Path | None = None  # with keys: a folder for each tenant, by name
    session_hours: float = 2.0  # public: what a visitor saved goes when unused for so long

    def __post_init__(self) -> None:
        object.__setattr__(self, "experts_dir", Path(self.experts_dir))
        object.__setattr__(self, "cache_dir", Path(self.cache_dir))
        for name in ("sessions_dir", "tenants_dir"):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, Path(getattr(self, name)))
        check_range("session_hours", self.session_hours, 0, 10_000)
        if self.dtype not in ("auto", "float32", "bfloat16", "float16"):
            raise InputError(
                f"dtype is {self.dtype!r}; expected auto, float32, bfloat16 or float16."
            )
        check_range("max_rows", self.max_rows, 2, 1024)
        check_range("max_queue", self.max_queue, 1, 10_000)


@dataclass(frozen=True)
class TrainConfig:
    """How an expert is trained. Defaults are those that the shipped experts were trained with."""

    steps: int = 60
    batch: int = 24  # questions a step
    learning_rate: float = 5e-3
    kl_coeff: float = 0.1
    # Of the policy: over closed answers, above 1 it explores for longer; of sampled tokens, below 1
    # it is nearer to the greedy answers that are measured in the end, and right more often.
    temperature: float = 1.0
    clip_norm: float = 1.0
    modules: str = "all"
    scope: str = "all"  # one of SCOPES: which tokens the expert acts on
    seed: int = 0
    micro_batch_tokens: int = 2000  # memory: forward and backward hold this many at once
    evaluate_every: int = 10  # steps
    validation_rows: int = 240
    checkpoint_every: int = 5  # steps
    objective: str = "auto"  # a name of catalogue.TRAIN_OBJECTIVES, or the first that fits the task
    rollouts: int = 4  # sampled: completions per prompt
    baseline: str = "leave_one_out"  # sampled: a name of catalogue.BASELINES
    negative_reward: float = -1.0  # sampled: of a wrong completion
    rehearsal: int = 0  # prompts of other kinds a step, answered as the base model answers them
    patience: int = 0  # validations without getting better until it stops; 0: never
    start: str = ""  # the expert it went on from, with its hash; set by the trainer

    def __post_init__(self) -> None:
        check_range("steps", self.steps, 1, 1_000_000)
        check_range("batch", self.batch, 1, 100_000)
        check_range("learning_rate", self.learning_rate, 1e-8, 1)
        check_range("kl_coeff", self.kl_coeff, 0, 100)
        check_range("temperature", self.temperature, 0.01, 100)
        check_range("clip_norm", self.clip_norm, 1e-9, 1e9)
        check_range("seed", self.seed, 0, 2**63 - 1)
        check_range("micro_batch_tokens", self.micro_batch_tokens, 1, 10_000_000)
        check_range("evaluate_every", self.evaluate_every, 1, 1_000_000)
        check_range("validation_rows", self.validation_rows, 1, 1_000_000)
        check_range("checkpoint_every", self.checkpoint_every, 1, 1_000_000)
        check_range("rollouts", self.rollouts, 1, 10_000)
        check_range("negative_reward", self.negative_reward, -100, 1)
        check_range("rehearsal", self.rehearsal, 0, 100_000)
        check_range("patience", self.patience, 0, 1_000_000)
        check_choice("objective", self.objective, ("auto", *TRAIN_OBJECTIVES))
        check_choice("baseline", self.baseline, tuple(BASELINES))
        check_scope(self.scope)
        if self.baseline == "leave_one_out" and self.rollouts < 2:
            raise InputError("leave_one_out needs at least 2 rollouts a prompt: got 1.")


# What "auto" means: the best at equal numbers of processed tokens (benchmarks/adapt_methods.py).
BEST_METHODS = {"likelihood": "gradient", "reward": "cem", "both": "cem"}
OBJECTIVES = ("likelihood", "reward", "both")
PRESETS = ("paper", "fast", "light")


@dataclass(frozen=True)
class FewShotConfig:
    """How the coefficients α are found from a few examples. See `preset` for named settings.

    `objective`: "likelihood" of the right answers (no decoding), "reward" (share of right
    answers, ties by likelihood; open answers are generated), or "both", their sum.
    `method`: one of `catalogue.SEARCH_METHODS`, or "auto", the best for the objective: `found_by`
    says which.
    """

    method: str = "auto"
    objective: str = "likelihood"
    shots: int = 10  # examples taken from a task where nobody says how many
    population: int = 32  # members scored in one generation
    elite_ratio: float = 0.2
    generations: int = 20  # at most; steps, for a method that follows the gradient
    low: float = 0.0  # bounds of α
    high: float = 1.0
    spread: float = 0.3  # standard deviation of the first generation
    floor: float = 0.02  # the least standard deviation; the search ends where all are there
    smoothing: float = 0.4  # share of the old mean and spread that each generation keeps
    anchors: bool = True  # the first generation holds the base model and every expert alone
    per_layer: bool = False  # one α per expert and layer
    normalise: bool = False  # divide by Σα
    held_out: float = 0.3  # share of the examples kept for the report; 0: no report
    learning_rate: float = 0.3  # of `gradient`: with 0.1 the few steps of `light` fell short
    racing: bool = True  # by generated answers: who cannot be among the best is not asked on
    pull: float = 0.01  # of `gradient`, towards its start
    max_new_tokens: int = 64  # of a generated answer
    stop: tuple[str, ...] = ()  # strings that end a generated answer
    batch_tokens: int = 4000  # scored in one forward pass, padding counted
    batch_rows: int = 64  # answers generated at once
    allow_transfer: bool = False  # experts made for other weights of the same shapes
    scope: str = ""  # one of SCOPES; "": the one that the experts were trained for
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("method", self.method, ("auto", *SEARCH_METHODS))
        check_choice("objective", self.objective, OBJECTIVES)
        if self.scope != "":
            check_scope(self.scope)
        if self.needs_gradient and self.objective != "likelihood":
            others = [name for name, one in SEARCH_METHODS.items() if not one.needs_gradient]
            raise InputError(
                f"method {self.method} needs objective likelihood, got {self.objective}: a reward "
                f"has no gradient; choose {', '.join(others[:-1])} or {others[-1]} for it."
            )
        whole = (
            "shots",
            "population",
            "generations",
            "max_new_tokens",
            "batch_tokens",
            "batch_rows",
            "seed",
        )
        for what in whole:
            if isinstance(getattr(self, what), float):
                raise InputError(f"{what} is {getattr(self, what)}; a whole number is expected.")
        check_range("shots", self.shots, 1, 1000)
        check_range("population", self.population, 2, 10_000)
        check_range("elite_ratio", self.elite_ratio, 0, 1)
        check_range("generations", self.generations, 1, 10_000)
        check_range("low", self.low, -ALPHA_LIMIT, ALPHA_LIMIT)
        check_range("high", self.high, -ALPHA_LIMIT, ALPHA_LIMIT)
        if not self.low < self.high:
            raise InputError(f"The bounds of α are {self.low:g} to {self.high:g}; low < high.")
        check_range("spread", self.spread, 1e-6, 2 * ALPHA_LIMIT)
        check_range("floor", self.floor, 0, self.spread)
        check_range("smoothing", self.smoothing, 0, 0.99)
        check_range("held_out", self.held_out, 0, 0.9)
        check_range("learning_rate", self.learning_rate, 1e-6, 10)
        check_range("pull", self.pull, 0, 1000)
        check_range("max_new_tokens", self.max_new_tokens, 1, 4096)
        check_range("batch_tokens", self.batch_tokens, 1, 10_000_000)
        check_range("batch_rows", self.batch_rows, 1, 100_000)
        check_range("seed", self.seed, 0, 2**63 - 1)

    @property
    def found_by(self) -> str:
        """The method that searches: one of SEARCH_METHODS."""
        return BEST_METHODS[self.objective] if self.method == "auto" else self.method

    @property
    def needs_gradient(self) -> bool:
        """Whether that method follows the likelihood's gradient."""
        return SEARCH_METHODS[self.found_by].needs_gradient

    @classmethod
    def preset(cls, name: str) -> "FewShotConfig":
        """ "paper" (arXiv 2501.06252: CEM on rewards, population 32, elite ratio 0.2, up to 100
        generations, α in [0, 1]), "fast", or "light" (3 shots, few generations)."""
        if name == "paper":
            return cls("cem", "reward", generations=100, smoothing=0.0, anchors=False)
        if name == "fast":
            return cls(population=16, elite_ratio=0.25, generations=10)
        if name == "light":
            return cls(shots=3, population=12, elite_ratio=0.25, generations=6)
        raise InputError(f"There is no preset {quoted(name)}; there are: {', '.join(PRESETS)}.")
