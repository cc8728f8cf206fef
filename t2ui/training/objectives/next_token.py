"""Next-token prediction on right answers: the paper's ablation, and a way to teach a form first."""

from collections.abc import Sequence

from torch import Tensor

from t2ui.models.questions import Question
from t2ui.tasks.base import Example, Task
from t2ui.training.objectives.base import LossTerm, Objective, Values


def next_token_loss(score: Tensor, tokens: int) -> Tensor:
    """Mean cross-entropy of an answer, nats per token.

    Args:
        score: its log-likelihood, of shape ().
        tokens: how many it has.
    """
    return -score / tokens


def next_token_term(row: Example, logged: str = "cross_entropy") -> LossTerm:
    """The right answer alone, token by token; its loss is logged under this name."""
    target = row.target

    def loss(scores: Tensor) -> tuple[Tensor, Values]:
        value = next_token_loss(scores[0], len(target))
        return value, {logged: value.item()}

    return LossTerm(Question(row.question.prompt, (target,)), loss)


class NextToken(Objective):
    """Raises the likelihood of every row's right answer.

    Often a first half, for a form that a second half by reward goes on from: it always leaves an
    expert, the best of its steps, even where none of them answers better than the start.
    """

    must_beat_start = False

    @classmethod
    def refusal(cls, task: Task) -> str:
        known = all(row.question.options for row in task.train)
        return "" if known else "has no right answers to learn from, only a scorer"

    def terms(self, rows: Sequence[Example], step: int) -> tuple[list[LossTerm], Values]:
        return [next_token_term(row) for row in rows], {}
