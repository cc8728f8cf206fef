"""What every objective of training is: it turns the rows of a step into loss terms.

To add one, write a file beside this one that holds its loss, as a pure function of
log-likelihoods, and a subclass of `Objective`; then its line in `TRAIN_OBJECTIVES` of the
catalogue. The trainer differentiates the terms, logs the values, and keeps in its checkpoint what
the objective wants kept.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, NamedTuple

from accelerate import PartialState
from torch import Tensor

from t2ui.cluster.executor import Executor, Where
from t2ui.cluster.work import Carried
from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.models.chat import answer_tail
from t2ui.models.questions import Question
from t2ui.models.running import BaseReading
from t2ui.tasks.base import Example, Task
from t2ui.training.parameters import Trainable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Values = dict[str, float]  # what is logged, by name


class LossTerm(NamedTuple):
    """One question's part of a step's loss, as a function of its options' log-likelihoods."""

    question: Question
    # (options,) float32 with gradients -> loss of shape (), and what is logged of it. The step's
    # loss is the sum of all terms' over the rows of the step.
    loss: Callable[[Tensor], tuple[Tensor, Values]]


@dataclass(frozen=True)
class Setup:
    """What a training run is made of, as its objective needs it."""

    trainable: Trainable
    tokenizer: "PreTrainedTokenizerBase | None"
    task: Task
    config: TrainConfig
    processes: PartialState
    executor: Executor | None = None  # who decodes answers; None: this process

    @cached_property
    def reading(self) -> BaseReading | None:
        """By whom prompts are read: in scope "answer" by the base model, up to their tails."""
        if self.config.scope == "all":
            return None
        if self.tokenizer is None:
            raise InputError("Scope answer needs the model's tokenizer: give it as tokenizer.")
        return BaseReading(answer_tail(self.tokenizer), partial(self.trainable.running, "base"))

    def elsewhere(self) -> Where | None:
        """Where answers are decoded under the policy as it is now, if not here."""
        if self.executor is None:
            return None
        policy = Carried([self.trainable.policy()])
        return Where(self.executor, policy, self.reading.tail if self.reading else None)


class Objective(ABC):
    """What one run minimises."""

    # Of the tokens: losses are taken under π ∝ exp(logits / temperature).
    token_temperature: float = 1.0
    # Whether no expert is written where validation never got better than the start.
    must_beat_start: bool = True

    def __init__(self, setup: Setup):
        self.setup = setup

    @classmethod
    def refusal(cls, task: Task) -> str:
        """Why a task cannot be trained by this objective, to be read behind the task's name; empty
        where it can."""
        return ""

    @abstractmethod
    def terms(self, rows: Sequence[Example], step: int) -> tuple[list[LossTerm], Values]:
        """The loss terms of a step's rows, and what there is to log before the update.

        Args:
            rows: this process's share of the step.
            step: its number, from 0. What is drawn depends on it and on the run's seed alone, so
                that a resumed run draws the same.
        """

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint keeps of it as tensors."""
        return {}

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps of it as JSON."""
        return {}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Go on from a checkpoint, given all that it holds."""
        return None

    def check_learned(self, steps: int) -> None:
        """Refuse a run from whose steps nothing can have been learned.

        Raises:
            InputError: says what to change.
        """
        return None
