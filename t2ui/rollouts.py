"""Completions that a policy samples, with their rewards, ready for its gradient."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from t2ui.config import Sampling
from t2ui.generate import Row, generate
from t2ui.likelihood import Question
from t2ui.tasks import Example, Task

SEED_RANGE = 2**31


@dataclass(frozen=True)
class Group:
    """The rollouts of one prompt. Equal ones stand once in `question`, with their count."""

    example: Example
    question: Question  # options: the different completions, as sampled, end tokens included
    counts: Tensor  # (O,) float32, sum G
    rewards: Tensor  # (O,) 1 for right, −1 for wrong


def sample_groups(
    model,
    tokenizer,
    task: Task,
    examples: Sequence[Example],
    size: int,
    seed: int,
    batch_rows: int = 96,
) -> list[Group]:
    """`size` completions of every example at temperature 1, from the model as it is set now.

    A completion that reaches the length limit has no end token and is judged as it stands.
    """
    sampling = [
        Sampling(task.max_new_tokens, 1.0, seed=(seed * 1_000_003 + i) % SEED_RANGE, stop=task.stop)
        for i in range(size * len(examples))
    ]
    rows = [
        Row(i, examples[i // size].question.prompt, None, sampling[i])
        for i in range(size * len(examples))
    ]
    completions = []
    for start in range(0, len(rows), batch_rows):
        completions += generate(model, tokenizer, rows[start : start + batch_rows], None)
    groups = []
    for i, example in enumerate(examples):
        counts: dict[tuple[int, ...], int] = {}
        texts: dict[tuple[int, ...], str] = {}
        for completion in completions[i * size : (i + 1) * size]:
            ids = completion.token_ids
            counts[ids] = counts.get(ids, 0) + 1
            texts[ids] = completion.text
        rewards = [1.0 if task.right(texts[ids], example.answer) else -1.0 for ids in counts]
        groups.append(
            Group(
                example,
                Question(example.question.prompt, tuple(counts)),
                torch.tensor(list(counts.values()), dtype=torch.float32),
                torch.tensor(rewards),
            )
        )
    return groups


def greedy_right(
    model, tokenizer, task: Task, examples: Sequence[Example], batch_rows: int = 64
) -> list[bool]:
    """Whether the greedy answer to each example is right, the model as it is set now."""
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].question.prompt))
    right = [False] * len(examples)
    sampling = Sampling(task.max_new_tokens, stop=task.stop)
    for start in range(0, len(order), batch_rows):
        part = order[start : start + batch_rows]
        rows = [Row(i, examples[i].question.prompt, None, sampling) for i in part]
        for i, completion in zip(part, generate(model, tokenizer, rows, None), strict=True):
            right[i] = task.right(completion.text, examples[i].answer)
    return right
