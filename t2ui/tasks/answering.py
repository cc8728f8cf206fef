"""What a model answers to a task's open examples, and whether that is right.

Shared by training (validation and rollouts) and evaluation.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.models.questions import Question
from t2ui.models.running import BaseReading
from t2ui.tasks.base import RIGHT, Example, Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

SEED_RANGE = 2**31
ROUNDING = 1e-6  # of rewards, which are float32
SAMPLED_ROWS = 96  # sampled answers that are decoded together


def greedy_texts(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    examples: Sequence[Example],
    batch_rows: int = 32,
    reading: BaseReading | None = None,
) -> Iterator[tuple[int, str]]:
    """(index of the example, greedy answer) as answers end, from the model as it is set now.

    Examples of similar length are decoded together; new ones join once half of a batch has ended,
    so that a few long answers do not hold up the others.

    Args:
        reading: for scope "answer": the base model reads the prompts but for their tails.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].question.prompt))
    sampling = Sampling(task.max_new_tokens, stop=task.stop)
    tail, base = reading or (None, None)
    rows = [Row(i, examples[i].question.prompt, None, sampling, tail) for i in order]
    decoder = Decoder(model, tokenizer, None, base=base)
    parts: dict[int, list[str]] = {i: [] for i in order}
    while rows or len(decoder):
        if rows and len(decoder) <= batch_rows // 2:
            free = batch_rows - len(decoder)
            decoder.add(rows[:free])
            rows = rows[free:]
        for step in decoder.step():
            parts[step.key].append(step.text)
            if step.finished:
                yield step.key, "".join(parts.pop(step.key))


def greedy_scores(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    examples: Sequence[Example],
    batch_rows: int = 64,
    reading: BaseReading | None = None,
) -> list[float]:
    """How right the greedy answer to each example is; see `greedy_texts`."""
    texts = dict(greedy_texts(model, tokenizer, task, examples, batch_rows, reading))
    return scored(task, [(texts[i], example.answer) for i, example in enumerate(examples)])


@dataclass(frozen=True)
class Group:
    """The rollouts of one prompt. Equal ones stand once in `question`, with their count."""

    example: Example
    question: Question  # options: the different completions, as sampled, end tokens included
    counts: Tensor  # (O,) float32, sum G
    rewards: Tensor  # (O,) 1 for right, −1 for wrong, between them where a task has scores

    @property
    def right(self) -> Tensor:  # (O,) float32, 1 or 0
        return (self.rewards >= reward_of(RIGHT) - ROUNDING).float()


def sample_groups(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    examples: Sequence[Example],
    size: int,
    seed: int,
    temperature: float = 1.0,
    reading: BaseReading | None = None,
) -> list[Group]:
    """`size` sampled completions of every example, from the model as it is set now.

    A completion that reaches the length limit has no end token and is graded as it stands.

    Args:
        reading: for scope "answer": the base model reads the prompts but for their tails.
    """
    rows, (tail, base) = [], reading or (None, None)
    for i in range(size * len(examples)):
        drawn = (seed * 1_000_003 + i) % SEED_RANGE
        sampling = Sampling(task.max_new_tokens, temperature, seed=drawn, stop=task.stop)
        rows.append(Row(i, examples[i // size].question.prompt, None, sampling, tail))
    completions = []
    for start in range(0, len(rows), SAMPLED_ROWS):
        completions += generate(model, tokenizer, rows[start : start + SAMPLED_ROWS], None, base)
    counts: list[dict[tuple[int, ...], int]] = [{} for _ in examples]
    texts: dict[tuple[int, tuple[int, ...]], str] = {}  # of every different rollout
    for i, completion in enumerate(completions):
        place, ids = i // size, completion.token_ids
        counts[place][ids] = counts[place].get(ids, 0) + 1
        texts[place, ids] = completion.text
    found = scored(task, [(text, examples[place].answer) for (place, _), text in texts.items()])
    scores = dict(zip(texts, found, strict=True))
    return [
        Group(
            example,
            Question(example.question.prompt, tuple(counted)),
            torch.tensor(list(counted.values()), dtype=torch.float32),
            torch.tensor([reward_of(scores[place, ids]) for ids in counted]),
        )
        for place, (example, counted) in enumerate(zip(examples, counts, strict=True))
    ]


def scored(task: Task, answers: Sequence[tuple[str, str]]) -> list[float]:
    """How right every (generated text, right answer) is, from 0 to 1, as many at once as there are
    processors: code runs in processes of its own, which threads only wait for.

    Raises:
        InputError: the task has closed answers, which are compared, not graded.
    """
    judge = task.score or task.grade
    if judge is None:
        raise InputError(f"Task {task.name!r} has closed answers: no text can be graded.")
    texts, right = [text for text, _ in answers], [answer for _, answer in answers]
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return [float(found) for found in pool.map(judge, texts, right)]


def reward_of(score: float) -> float:
    """−1 for wrong to 1 for right."""
    return 2 * score - 1
