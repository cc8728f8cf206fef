"""Tasks: prompts, right answers, and what is rewarded.

An example is plain token ids, so that trainer, search and evaluation never tokenise; every task
file turns one family of data into examples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from t2ui.models.questions import Question

RIGHT = 0.99  # the score from which an answer is right


@dataclass(frozen=True)
class Example:
    """One prompt with its right answer. Rewards are 1 and −1 (paper, 3.1).

    Closed answers: `question` has all options, and option `correct` is the right one. Open
    answers: `question` has one option, a right completion with its end token (none where there is
    only a scorer); what a model generates is graded by the task's `grade(text, answer)`.
    """

    id: str
    question: Question
    correct: int = 0
    lengths: tuple[int, ...] = ()  # of the options' texts in UTF-8 bytes, for per-byte scores
    family: str = ""  # the data set or group that evaluations report on
    answer: str = ""  # open answers: what `grade` compares with
    prompt: str = ""  # the prompt as a person would type it, which pass one reads

    @property
    def target(self) -> tuple[int, ...]:
        """Token ids of the right answer."""
        return self.question.options[self.correct]


@dataclass(frozen=True)
class Task:
    """Examples by their use. Training sees `train`, picks its checkpoint on `validation`, and never
    sees `test`.

    `labels` and `objective` go into the expert file.
    """

    name: str
    train: Sequence[Example]
    validation: Sequence[Example]
    test: Sequence[Example] = ()
    labels: tuple[str, ...] = ()
    objective: str = "closed answers"
    data: dict[str, str] = field(default_factory=dict)  # where the rows came from, for the card
    # Open answers: whether a generated text gives the answer, asked from any thread. None: closed.
    grade: Callable[[str, str], bool] | None = None
    # How right it is, from 0 to 1, where a task knows more than whether: what is rewarded. It is
    # right from `RIGHT` on.
    score: Callable[[str, str], float] | None = None
    max_new_tokens: int = 0  # open answers: how long a completion may get
    stop: tuple[str, ...] = ()  # open answers: strings that end a completion

    @property
    def classifies(self) -> bool:
        """Whether its answers are the labels of pass one, which are measured as routes."""
        return self.objective == "dispatch"
