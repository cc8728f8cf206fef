"""What a model answers to a task's open examples, and whether that is right.

Shared by training (validation and rollouts) and evaluation.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from t2ui.cluster.executor import Where, here, results
from t2ui.cluster.work import Answer, Answers, Asked
from t2ui.config import Sampling
from t2ui.errors import InputError
from t2ui.inference.rows import NOT_FINITE
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
    where: Where | None = None,
) -> Iterator[tuple[int, str]]:
    """(index of the example, greedy answer) as answers end, from the model as it is set now.

    Examples of similar length are decoded together; new ones join once half of a batch has ended,
    so that a few long answers do not hold up the others.

    Args:
        reading: for scope "answer": the base model reads the prompts but for their tails.
        where: instead of here and as the model is set now.
    """
    where = where or here(model, tokenizer, *(reading or ()))
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].question.prompt))
    sampling = Sampling(task.max_new_tokens, stop=task.stop)
    work = Answers(batch_rows, batch_rows // 2, where.scales, tail=where.tail)
    rows = [Asked(examples[i].question.prompt, sampling) for i in order]
    with closing(where.executor.run(work, rows)) as pieces:
        for piece in pieces:
            for place, answer in piece.results:
                yield order[place], answer.text


def greedy_scores(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    examples: Sequence[Example],
    batch_rows: int = 64,
    reading: BaseReading | None = None,
    where: Where | None = None,
) -> list[float]:
    """How right the greedy answer to each example is; see `greedy_texts`."""
    texts = dict(greedy_texts(model, tokenizer, task, examples, batch_rows, reading, where))
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


@dataclass(frozen=True)
class Draws:
    """How completions are sampled. Every one has its own seed, so that it is the same whoever
    samples it: a process of several takes a share of a step's prompts."""

    size: int  # G, completions of every prompt
    seed: int  # of the step
    temperature: float = 1.0
    first: int = 0  # place, among the step's prompts, of the first of these
    every: int = 1  # and from there on every so many

    def sampling(self, task: Task, place: int, number: int) -> Sampling:
        """Of one completion: its prompt's place among these, its own number from 0."""
        i = (self.first + place * self.every) * self.size + number
        drawn = (self.seed * 1_000_003 + i) % SEED_RANGE
        return Sampling(task.max_new_tokens, self.temperature, seed=drawn, stop=task.stop)


def sample_groups(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    task: Task,
    examples: Sequence[Example],
    draws: Draws,
    reading: BaseReading | None = None,
    where: Where | None = None,
) -> list[Group]:
    """Sampled completions of every example, from the model as it is set now.

    A completion that reaches the length limit has no end token and is graded as it stands.

    Args:
        reading: for scope "answer": the base model reads the prompts but for their tails.
        where: instead of here and as the model is set now.

    Raises:
        InputError: the logits of a completion are not finite.
    """
    where = where or here(model, tokenizer, *(reading or ()))
    size = draws.size
    rows = [
        Asked(example.question.prompt, draws.sampling(task, place, number))
        for place, example in enumerate(examples)
        for number in range(size)
    ]
    work = Answers(SAMPLED_ROWS, 0, where.scales, tail=where.tail)
    completions: list[Answer] = results(where.executor, work, rows)
    for answer in completions:
        if answer.finished == "failed":
            raise answer.error or InputError(NOT_FINITE)
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
