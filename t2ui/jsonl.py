"""Reads JSON Lines: every mistake is named with its file and line."""

import json
from pathlib import Path
from typing import Any

from t2ui.errors import InputError


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
        text = path.read_text(encoding="utf-8-sig")  # some editors write a byte-order mark first
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
