"""How good a run's parameters are on the rows that pick its best checkpoint."""

from collections.abc import Sequence

import torch

from t2ui.models.likelihood import batched_log_likelihoods
from t2ui.tasks.answering import greedy_scores, reward_of
from t2ui.tasks.base import RIGHT, Example
from t2ui.training.objectives.base import Setup, Values


def validate(setup: Setup, rows: Sequence[Example]) -> Values:
    """`accuracy` and mean `reward` of the policy on these rows: open answers are decoded greedily,
    closed ones are compared by their likelihood, and rewarded by the policy's expectation."""
    model = setup.trainable.model
    with torch.inference_mode(), setup.trainable.running("inference"):
        if setup.task.grade is not None:
            assert setup.tokenizer is not None  # the trainer sees to it
            found = greedy_scores(model, setup.tokenizer, setup.task, rows, reading=setup.reading)
            right = [score >= RIGHT for score in found]
            reward = sum(map(reward_of, found))
        else:
            questions, tokens = [row.question for row in rows], setup.config.micro_batch_tokens
            scores = batched_log_likelihoods(model, questions, tokens, reading=setup.reading)
            right = [int(s.argmax()) == row.correct for s, row in zip(scores, rows, strict=True)]
            chosen = [s.softmax(0)[row.correct] for s, row in zip(scores, rows, strict=True)]
            reward = sum(2 * float(p) - 1 for p in chosen)  # Σ_o π(o) r(o), r in {−1, 1}
    return {"accuracy": sum(right) / len(rows), "reward": reward / len(rows)}
