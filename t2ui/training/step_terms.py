"""The questions of one training step with their losses: what the trainer differentiates."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from t2ui.config import TrainConfig
from t2ui.errors import InputError
from t2ui.models.likelihood import Question, option_log_likelihoods
from t2ui.tasks.base import Example, Task
from t2ui.tasks.jsonl import micro_batches
from t2ui.training.losses import (
    advantages,
    exact_policy_loss,
    next_token_loss,
    policy_loss,
    rewards_of,
)
from t2ui.training.rollouts import Group

Values = dict[str, float]


class LossTerm(NamedTuple):
    """One question's part of a step: its loss and what is logged, from its scores."""

    question: Question
    loss: Callable[[Tensor], tuple[Tensor, Values]]  # (O,) log-likelihoods -> …


def objective_of(task: Task, config: TrainConfig) -> str:
    """The objective that "auto" stands for.

    Raises:
        InputError: one that the task cannot have.
    """
    wanted = config.objective
    if wanted == "auto":
        return "exact" if task.grade is None else "sampled"
    if wanted == "exact" and any(len(row.question.options) < 2 for row in task.train):
        raise InputError(f"Task {task.name!r} has open answers: choose sampled or next_token.")
    if wanted == "sampled" and task.grade is None:
        raise InputError(f"Task {task.name!r} has closed answers: choose exact or next_token.")
    return wanted


class _Numbered(NamedTuple):
    question: Question
    number: int
    part: int


def scores_of(
    model, questions: Sequence[Question], micro_batch_tokens: int, temperature: float = 1.0
) -> list[Tensor]:
    """Log-likelihoods of every question's options, (O,) each, the model as it is set now."""
    numbered = [
        _Numbered(_only(question, places), i, part)
        for i, question in enumerate(questions)
        for part, places in enumerate(_parts(question, micro_batch_tokens))
    ]
    scores: dict[int, dict[int, Tensor]] = {}
    for batch in micro_batches(numbered, micro_batch_tokens):
        found = option_log_likelihoods(model, [item.question for item in batch], temperature)
        for item, score in zip(batch, found, strict=True):
            scores.setdefault(item.number, {})[item.part] = score
    return [
        torch.cat([scores[i][part] for part in sorted(scores[i])]) for i in range(len(questions))
    ]


def _parts(question: Question, tokens: int) -> list[list[int]]:
    """Places of options, cut so that each part with the prompt holds at most so many tokens (or
    one option): many long rollouts of one prompt would not fit into memory together."""
    parts: list[list[int]] = []
    used = 0
    for place, option in enumerate(question.options):
        if not parts or used + len(option) - 1 > tokens:
            parts.append([])
            used = len(question.prompt)
        parts[-1].append(place)
        used += len(option) - 1
    return parts


def _only(question: Question, places: Sequence[int]) -> Question:
    if len(places) == len(question.options):
        return question
    return Question(question.prompt, tuple(question.options[i] for i in places))


def exact_term(row: Example, reference: Tensor, kl_coeff: float, temperature: float) -> LossTerm:
    """Closed answers: the exact policy gradient. `reference` is the base model's scores, (O,)."""
    rewards = rewards_of(len(row.question.options), row.correct)

    def loss(scores: Tensor) -> tuple[Tensor, Values]:
        value, reward, kl = exact_policy_loss(
            scores, rewards.to(scores.device), reference, kl_coeff, temperature
        )
        right = float(int(scores.argmax()) == row.correct)
        return value, {"reward": reward.item(), "accuracy": right, "kl": kl.item()}

    return LossTerm(row.question, loss)


def next_token_term(row: Example, logged: str = "cross_entropy") -> LossTerm:
    """The right answer alone, token by token."""

    def loss(scores: Tensor) -> tuple[Tensor, Values]:
        value = next_token_loss(scores[0], len(row.target))
        return value, {logged: value.item()}

    return LossTerm(Question(row.question.prompt, (row.target,)), loss)


def sampled_terms(
    groups: Sequence[Group],
    log_ratios: Sequence[Tensor] | None,  # per group (O,): log π′(ŷ|x) − log π(ŷ|x)
    kl_coeff: float,
    baseline: str,
    negative_reward: float,
    micro_batch_tokens: int,
) -> list[LossTerm]:
    """Open answers: rollouts with their advantages, those without a gradient left out.

    Where all rollouts of a prompt are right or all are wrong, leave-one-out leaves nothing to
    learn; with sparse rewards that is most of them, and scoring them would cost the most.
    """
    counts = [group.counts for group in groups]
    rewards = [torch.where(g.rewards < 0, negative_reward, g.rewards) for g in groups]
    found = advantages(rewards, counts, log_ratios, kl_coeff, baseline)
    return [
        term
        for group, advantage in zip(groups, found, strict=True)
        if bool(advantage.any())
        for term in _policy_terms(group, advantage, micro_batch_tokens)
    ]


def _policy_terms(group: Group, advantage: Tensor, tokens: int) -> list[LossTerm]:
    """A prompt's rollouts, in as many terms as it takes to keep each within the tokens."""
    kept = advantage.nonzero().flatten().tolist()
    question = _only(group.question, kept)
    return [
        _policy_term(group, advantage, _only(question, part), [kept[i] for i in part])
        for part in _parts(question, tokens)
    ]


def _policy_term(
    group: Group, advantage: Tensor, question: Question, places: list[int]
) -> LossTerm:
    size = float(group.counts.sum())
    advantage, counts = advantage[places], group.counts[places]

    def loss(scores: Tensor) -> tuple[Tensor, Values]:
        value = policy_loss(scores, advantage.to(scores.device), counts.to(scores.device), size)
        return value, {}

    return LossTerm(question, loss)


def rollout_values(groups: Sequence[Group], log_ratios: Sequence[Tensor] | None) -> Values:
    """Means over all rollouts of a step, and how many tokens they hold."""
    counts = [group.counts for group in groups]
    reward = _mean(counts, [group.rewards for group in groups])
    values = {
        "reward": reward,
        "accuracy": (reward + 1) / 2,
        "rollout_tokens": sum(
            float(n) * len(option)
            for group in groups
            for option, n in zip(group.question.options, group.counts, strict=True)
        ),
    }
    return values if log_ratios is None else {**values, "kl": _mean(counts, log_ratios)}


def _mean(counts: Sequence[Tensor], values: Sequence[Tensor]) -> float:
    total = sum(float((n * v).sum()) for n, v in zip(counts, values, strict=True))
    return total / sum(float(n.sum()) for n in counts)
