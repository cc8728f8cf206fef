"""Answers to open examples: sampled ones with their rewards, ready for a policy's gradient, and
greedy ones for measuring."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from t2ui.config import Sampling
from t2ui.inference.decoding import Decoder, Row, generate
from t2ui.models.likelihood import Question
from t2ui.tasks.base import Example, Task

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
    temperature: float = 1.0,
    batch_rows: int = 96,
) -> list[Group]:
    """`size` sampled completions of every example, from the model as it is set now.

    A completion that reaches the length limit has no end token and is judged as it stands.
    """
    sampling = [
        Sampling(
            task.max_new_tokens,
            temperature,
            seed=(seed * 1_000_003 + i) % SEED_RANGE,
            stop=task.stop,
        )
        for i in range(size * len(examples))
    ]
    rows = [
        Row(i, examples[i // size].question.prompt, None, sampling[i])
        for i in range(size * len(examples))
    ]
    completions = []
    for start in range(0, len(rows), batch_rows):
        completions += generate(model, tokenizer, rows[start : start + batch_rows], None)
    counts: list[dict[tuple[int, ...], int]] = [{} for _ in examples]
    texts: dict[tuple[int, tuple[int, ...]], str] = {}  # of every different rollout
    for i, completion in enumerate(completions):
        place, ids = i // size, completion.token_ids
        counts[place][ids] = counts[place].get(ids, 0) + 1
        texts[place, ids] = completion.text
    right = judged(task, [(text, examples[place].answer) for (place, _), text in texts.items()])
    rewards = dict(zip(texts, right, strict=True))
    return [
        Group(
            example,
            Question(example.question.prompt, tuple(counted)),
            torch.tensor(list(counted.values()), dtype=torch.float32),
            torch.tensor([1.0 if rewards[place, ids] else -1.0 for ids in counted]),
        )
        for place, (example, counted) in enumerate(zip(examples, counts, strict=True))
    ]


def with_own_answers(
    model, tokenizer, examples: Sequence[Example], max_new_tokens: int
) -> list[Example]:
    """The examples with what the model answers greedily as the only option, as it is set now."""
    sampling = Sampling(max_new_tokens)
    rows = [Row(i, example.question.prompt, None, sampling) for i, example in enumerate(examples)]
    found = generate(model, tokenizer, rows, None)
    return [
        replace(example, question=Question(example.question.prompt, (completion.token_ids,)))
        for example, completion in zip(examples, found, strict=True)
    ]


def greedy_right(
    model, tokenizer, task: Task, examples: Sequence[Example], batch_rows: int = 64
) -> list[bool]:
    """Whether the greedy answer to each example is right, the model as it is set now."""
    texts = dict(greedy_texts(model, tokenizer, task, examples, batch_rows))
    return judged(task, [(texts[i], example.answer) for i, example in enumerate(examples)])


def greedy_texts(
    model, tokenizer, task: Task, examples: Sequence[Example], batch_rows: int = 32
) -> Iterator[tuple[int, str]]:
    """(place in the examples, greedy answer) as they end, the model as it is set at the moment.

    Examples of like length are decoded together; new ones join when half of a batch has ended, so
    that a few long answers do not hold up the others.
    """
    order = sorted(range(len(examples)), key=lambda i: len(examples[i].question.prompt))
    sampling = Sampling(task.max_new_tokens, stop=task.stop)
    rows = [Row(i, examples[i].question.prompt, None, sampling) for i in order]
    decoder = Decoder(model, tokenizer, None)
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


def judged(task: Task, answers: Sequence[tuple[str, str]]) -> list[bool]:
    """`task.grade` of every (text, answer), one a processor at a time: code runs in processes of
    its own, which threads only wait for."""
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(task.grade, *zip(*answers, strict=True)))
