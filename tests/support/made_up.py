"""A task and an objective as somebody would add them: one file, and one line of the catalogue for
each. What they are registered as is in `TASK`, `FAMILY` and `OBJECTIVE`."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from t2ui.catalogue import Entry, TaskEntry
from t2ui.errors import InputError
from t2ui.models.chat import chat_ids
from t2ui.models.questions import Question
from t2ui.tasks.base import Example, Task
from t2ui.training.objectives.base import LossTerm, Objective, Values

TASK = {"letters": TaskEntry("made_up:load", "which of two letters")}
FAMILY = {"game:": TaskEntry("made_up:load", "letters of a game")}
OBJECTIVE = {"margin": Entry("made_up:Margin", "closed answers, by their margin")}
STYLES = {"chat": "{name} {i}?", "loud": "{name} {i}!"}


def load(
    name: str,
    tokenizer,
    data: Path,
    *,
    style: str = "chat",
    rows: int = 12,
    notes: Path | None = None,
    words: Sequence[str] = (),
    sure: bool = False,
) -> Task:
    """The right one of two options is always the letter y; the tiny Llama says z."""
    right, wrong = tuple(tokenizer.encode("y")), tuple(tokenizer.encode("z"))
    made = tuple(
        Example(
            f"{name} {i}",
            Question(
                tuple(chat_ids(tokenizer, STYLES[style].format(name=name, i=i))),
                (right, wrong) if i % 2 else (wrong, right),
            ),
            correct=(i + 1) % 2,
            lengths=(1, 1),
            prompt=f"{name} {i}?",
        )
        for i in range(3 * rows)
    )
    return Task(name, made[:rows], made[rows : 2 * rows], made[2 * rows :], labels=("letters",))


def margin_loss(scores: Tensor, correct: int) -> Tensor:
    """How far the right option is from being one nat ahead of every other."""
    others = scores[[i for i in range(len(scores)) if i != correct]]
    return (1 + others - scores[correct]).relu().sum()


class Margin(Objective):
    """Wants every right option one nat ahead; counts the rows that it has seen."""

    def __init__(self, setup):
        super().__init__(setup)
        self.seen = 0

    @classmethod
    def refusal(cls, task: Task) -> str:
        return "has open answers" if task.grade is not None else ""

    def terms(self, rows: Sequence[Example], step: int) -> tuple[list[LossTerm], Values]:
        self.seen += len(rows)
        return [self._term(row) for row in rows], {"seen": float(self.seen)}

    def facts(self) -> dict[str, Any]:
        return {"seen": self.seen}

    def tensors(self) -> dict[str, Tensor]:
        return {"first": self.setup.trainable.parameters[0].detach()[:1].clone()}

    def restore(self, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.seen = facts["seen"]
        assert tensors["first"].shape == (1,)

    def check_learned(self, steps: int) -> None:
        if self.seen < 2:
            raise InputError("Too few rows were seen to learn a margin.")

    @staticmethod
    def _term(row: Example) -> LossTerm:
        def loss(scores: Tensor) -> tuple[Tensor, Values]:
            value = margin_loss(scores, row.correct)
            return value, {"margin_loss": value.item()}

        return LossTerm(row.question, loss)
