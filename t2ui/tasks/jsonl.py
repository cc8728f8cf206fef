"""Lists of rows: read from JSON Lines, shuffled by a seed, cut into batches."""

import json
import math
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from t2ui.errors import InputError

if TYPE_CHECKING:
    from t2ui.tasks.base import Example

T = TypeVar("T")


def read_jsonl(
    path: Path, fields: tuple[str, ...], texts: tuple[str, ...] = ()
) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file; blank lines are skipped.

    Args:
        fields: what every row has.
        texts: those of them that must be strings.

    Raises:
        InputError: no such file, a line that is not a JSON object or lacks a field, or no rows.
    """
    if not path.is_file():
        raise InputError(f"There is no data file at {path}: give the folder that holds it.")
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a mark first
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 ({error.reason}): convert it.") from None
    except OSError as error:
        raise InputError(f"{path.name} cannot be read ({error.strerror}): check it.") from None
    rows = []
    # not splitlines(), which also splits at U+2028 and others that JSON strings may hold
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path.name}, line {number}: not JSON ({error.msg}).") from None
        except RecursionError:
            raise InputError(f"{path.name}, line {number}: brackets are too deep.") from None
        except ValueError as error:  # a number of thousands of digits
            raise InputError(f"{path.name}, line {number}: {error}.") from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number}: {line[:40]} is not a JSON object.")
        missing = [f for f in fields if f not in row]
        if missing:
            raise InputError(
                f"{path.name}, line {number}: no field {', '.join(missing)}; every line needs "
                f"{', '.join(fields)}."
            )
        for field in texts:
            if not isinstance(row[field], str):
                raise InputError(
                    f"{path.name}, line {number}: {field} is {row[field]!r}; expected a text."
                )
        if "\\ud" in line.casefold() and not _whole(row):
            raise InputError(f"{path.name}, line {number}: half a character (\\ud…): mend it.")
        rows.append(row)
    if not rows:
        raise InputError(f"{path.name} has no rows.")
    return rows


def _whole(row: dict[str, Any]) -> bool:
    """Whether no text in it holds half of a surrogate pair, which no tokenizer takes."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def check_context(model, examples: Iterable["Example"], new_tokens: int) -> None:
    """Refuse examples that do not fit into the model's context with their answers.

    Args:
        new_tokens: that may be generated; 0 where options are compared.

    Raises:
        InputError: names the example.
    """
    limit = getattr(model.config.get_text_config(), "max_position_embeddings", None) or math.inf
    for example in examples:
        prompt = len(example.question.prompt)
        answer = max([new_tokens, *map(len, example.question.options)])
        if prompt + answer > limit:
            raise InputError(
                f"Example {example.id!r} has {prompt} tokens and an answer of up to {answer}; the "
                f"model's context holds {limit}: leave it out."
            )


def shuffled(rows: Sequence[T], seed: int) -> list[T]:
    """The rows in an order that depends on the seed alone."""
    return [rows[place] for place in _order(len(rows), seed)]


def _order(count: int, seed: int) -> list[int]:
    order = list(range(count))
    random.Random(seed).shuffle(order)
    return order


def rows_of_step(rows: Sequence[T], batch: int, seed: int, step: int) -> list[T]:
    """The rows that a training step sees: epoch after epoch, each in an order that depends on the
    seed and the epoch's number alone."""
    count, places = len(rows), range(step * batch, (step + 1) * batch)
    epochs = {place // count for place in places}
    orders = {epoch: _order(count, seed * 1_000_003 + epoch) for epoch in epochs}
    return [rows[orders[place // count][place % count]] for place in places]


def micro_batches(rows: Sequence["Example"], tokens: int) -> Iterator[list["Example"]]:
    """Rows of like length together, at most so many tokens a batch with padding counted."""
    batch: list[Example] = []
    left = right = 0  # prompts are padded on their left, what follows them on its right
    for row in sorted(rows, key=lambda row: row.question.tokens):
        prompt = len(row.question.prompt)
        rest = row.question.tokens - prompt
        left, right = max(left, prompt), max(right, rest)
        if batch and (left + right) * (len(batch) + 1) > tokens:
            yield batch
            batch, left, right = [], prompt, rest
        batch.append(row)
    if batch:
        yield batch
