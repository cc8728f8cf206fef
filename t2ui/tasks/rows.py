"""Lists of rows: read from JSON Lines, shuffled by a seed, cut into batches."""

import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2ui.errors import InputError

if TYPE_CHECKING:
    from t2ui.tasks import Example


def read_jsonl(path: Path, fields: tuple[str, ...]) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file; blank lines are skipped.

    Raises:
        InputError: no such file, a line that is not a JSON object or lacks a field, or no rows.
    """
    if not path.is_file():
        raise InputError(f"There is no data file at {path}: give the folder that holds it.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name} is not UTF-8 ({error.reason}): convert it.") from None
    rows = []
    # not splitlines(), which also splits at U+2028 and others that JSON strings may hold
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(f"{path.name}, line {number}: not JSON ({error.msg}).") from None
        if not isinstance(row, dict):
            raise InputError(f"{path.name}, line {number}: {line[:40]} is not a JSON object.")
        missing = [f for f in fields if f not in row]
        if missing:
            raise InputError(
                f"{path.name}, line {number}: no field {', '.join(missing)}; every line needs "
                f"{', '.join(fields)}."
            )
        rows.append(row)
    if not rows:
        raise InputError(f"{path.name} has no rows.")
    return rows


def shuffled(rows: list, seed: int) -> list:
    """The rows in an order that depends on the seed alone."""
    order = list(rows)
    random.Random(seed).shuffle(order)
    return order


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
