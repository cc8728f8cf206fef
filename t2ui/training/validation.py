"""How good a run's parameters are on the rows that pick its best checkpoint."""

from collections.abc import Sequence

import torch

from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.models.questions import Question
from t2ui.tasks.answering import greedy_scores, reward_of
from t2ui.tasks.base import RIGHT, Example
from t2ui.training.objectives.base import Setup, Values

Rank = tuple[float, float, float]  # the greater the better


def validate(setup: Setup, rows: Sequence[Example]) -> Values:
    """`accuracy` and mean `reward` of the policy on these rows: open answers are decoded greedily,
    closed ones are compared by their likelihood, and rewarded by the policy's expectation. Of open
    answers also the `cross_entropy` of the right ones, in nats per token, where they are known."""
    model = setup.trainable.model
    with torch.inference_mode(), setup.trainable.running("inference"):
        if setup.task.grade is not None:
            assert setup.tokenizer is not None  # the trainer sees to it
            found = greedy_scores(
                model,
                setup.tokenizer,
                setup.task,
                rows,
                reading=setup.reading,
                where=setup.elsewhere(),
            )
            right = [score >= RIGHT for score in found]
            reward = sum(map(reward_of, found))
            others = _cross_entropy(setup, [row for row in rows if row.question.options])
        else:
            questions, tokens = [row.question for row in rows], setup.config.micro_batch_tokens
            scores = batched_log_likelihoods(model, questions, tokens, reading=setup.reading)
            right = [int(s.argmax()) == row.correct for s, row in zip(scores, rows, strict=True)]
            chosen = [s.softmax(0)[row.correct] for s, row in zip(scores, rows, strict=True)]
            reward = sum(2 * float(p) - 1 for p in chosen)  # Σ_o π(o) r(o), r in {−1, 1}
            others = {}
    return {"accuracy": sum(right) / len(rows), "reward": reward / len(rows), **others}


def rank(values: Values) -> Rank:
    """What validations are compared by: accuracy; where it is the same reward; then the loss."""
    return values["accuracy"], values["reward"], -values.get("cross_entropy", 0.0)


def _cross_entropy(setup: Setup, rows: Sequence[Example]) -> Values:
    if not rows:
        return {}
    questions = [Question(row.question.prompt, (row.target,)) for row in rows]
    model, tokens = setup.trainable.model, setup.config.micro_batch_tokens
    found = batched_log_likelihoods(model, questions, tokens, reading=setup.reading)
    losses = [-float(scores[0]) / len(row.target) for scores, row in zip(found, rows, strict=True)]
    return {"cross_entropy": sum(losses) / len(losses)}
