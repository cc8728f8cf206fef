"""The order of rows: shuffled by a seed, and which ones a step of a training sees; and whether
examples fit into the model's context. How rows are cut into forward passes: `models.likelihood`.
"""

import math
import random
from collections.abc import Iterable, Sequence
from typing import TypeVar

from torch import nn

from t2ui.errors import InputError
from t2ui.models.loading import context_limit
from t2ui.tasks.base import Example

T = TypeVar("T")


def shuffled(rows: Sequence[T], seed: int) -> list[T]:
    """The rows in an order that depends on the seed alone."""
    return [rows[place] for place in _order(len(rows), seed)]


def rows_of_step(rows: Sequence[T], batch: int, seed: int, step: int) -> list[T]:
    """The rows that a training step sees: epoch after epoch, each in an order that depends on the
    seed and the epoch's number alone.

    Args:
        batch: rows per step.
        step: its number, from 0.
    """
    count, places = len(rows), range(step * batch, (step + 1) * batch)
    epochs = {place // count for place in places}
    orders = {epoch: _order(count, seed * 1_000_003 + epoch) for epoch in epochs}
    return [rows[orders[place // count][place % count]] for place in places]


def check_context(model: nn.Module, examples: Iterable[Example], new_tokens: int) -> None:
    """Refuse examples that do not fit into the model's context together with their answers.

    Args:
        new_tokens: that may be generated; 0 where options are compared.

    Raises:
        InputError: names the example.
    """
    limit = context_limit(model) or math.inf
    for example in examples:
        prompt = len(example.question.prompt)
        answer = max([new_tokens, *map(len, example.question.options)])
        if prompt + answer > limit:
            raise InputError(
                f"Example {example.id!r} has {prompt} tokens and an answer of up to {answer}; the "
                f"model's context holds {limit}: leave it out."
            )


def _order(count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order
