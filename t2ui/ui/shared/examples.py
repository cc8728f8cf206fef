"""Examples: rows of (prompt, right answer), which Adapt searches on and Compare tries. Plain data;
knows no gradio.

Rows live in the browser and come back with every event, so they are untrusted: `rows_of` reads
them. Pasted and uploaded text is CSV, tab-separated text, or JSON Lines, and is told apart here.
"""

import csv
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from t2ui.errors import InputError

SAMPLES = Path(__file__).with_name("samples.json")
MAX_ROWS = 64  # more would keep a shared machine busy for long
MAX_CHARS = 4000  # of a prompt or an answer
MAX_TEXT = 400_000  # characters pasted or uploaded at once
PROMPTS = ("prompt", "question", "input", "instruction")
ANSWERS = ("answer", "right answer", "right", "target", "output", "completion")

BLANK = (("", ""),) * 3  # the table before there is anything in it

Row = tuple[str, str]  # prompt, right answer


def table_of(rows: Sequence[Row], note: str = "") -> dict[str, Any]:
    """A value of the examples panel; the stamp makes the same rows again a new value."""
    chips = [{"name": name, "hint": one["hint"]} for name, one in samples().items()]
    return {
        "rows": [list(row) for row in rows],
        "note": note,
        "bad": False,
        "samples": chips,
        "stamp": uuid.uuid4().hex,
    }


def rows_of(value: Any) -> list[Row]:
    """The table's rows as they come from the browser, blank ones included; nonsense left out."""
    rows = value.get("rows") if isinstance(value, Mapping) else None
    if not isinstance(rows, list):
        return []
    return [
        (str(row[0]), str(row[1]))
        for row in rows
        if isinstance(row, (list, tuple)) and len(row) == 2
    ]


def check_rows(rows: Sequence[Row], places: Sequence[int]) -> None:
    """What `filled` gave, before it is searched on.

    Raises:
        InputError: half an example, one that is too long, or too many; names the row or the number.
    """
    for place, (prompt, right) in zip(places, rows, strict=True):
        if not prompt.strip() or not right.strip():
            missing = "right answer" if prompt.strip() else "prompt"
            raise InputError(f"Row {place + 1} has no {missing}: type one, or remove the row.")
        _check_length(f"Row {place + 1}", prompt, right)
    if len(rows) > MAX_ROWS:
        raise InputError(
            f"There are {len(rows)} examples; at most {MAX_ROWS} are searched on: remove "
            f"{len(rows) - MAX_ROWS}."
        )


def filled(rows: Sequence[Row]) -> tuple[list[Row], list[int]]:
    """The rows in which something is written, and their places in the table."""
    places = [place for place, row in enumerate(rows) if any(part.strip() for part in row)]
    return [rows[place] for place in places], places


def merged(rows: Sequence[Row], more: Sequence[Row]) -> tuple[list[Row], str]:
    """The written rows as they are and new ones, none of those twice, at most MAX_ROWS; and what
    to say about it."""
    written = filled(rows)[0]
    together = [*written, *(row for row in dict.fromkeys(more) if row not in written)]
    kept = together[:MAX_ROWS]
    added = len(kept) - len(written)
    note = f"{added} {'example' if added == 1 else 'examples'} added."
    if len(together) > MAX_ROWS:
        note = f"The first {MAX_ROWS} examples are kept; {len(together) - MAX_ROWS} are left out."
    return kept, note


@cache
def samples() -> dict[str, dict[str, Any]]:
    """The examples that ship with the app, by name: their hint and rows."""
    found = json.loads(SAMPLES.read_text(encoding="utf-8"))["samples"]
    return {one["name"]: {**one, "rows": [tuple(row) for row in one["rows"]]} for one in found}


def parse(text: Any) -> list[Row]:
    """Rows of pasted or uploaded text: JSON Lines if it begins with a brace, else CSV.

    CSV needs no header; one that names a prompt and an answer column may have others beside them.

    Raises:
        InputError: not text, too long, or a line that cannot be read (with its number).
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError("There is no text: paste or upload lines of a prompt and its answer.")
    if len(text) > MAX_TEXT:
        raise InputError(
            f"The text has {len(text):,} characters; at most {MAX_TEXT:,} are read: cut it."
        )
    text = text.lstrip("\ufeff")
    rows = _json_lines(text) if text.lstrip().startswith("{") else _csv(text)
    if not rows:
        raise InputError("No example was found: every line needs a prompt and its right answer.")
    return rows


def _json_lines(text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            reason = str(error)  # a number of 5,000 digits, say
            if isinstance(error, json.JSONDecodeError):
                reason = f"{error.msg}, at its character {error.colno}"
            raise InputError(f"Line {number} is not JSON ({reason}).") from None
        if not isinstance(row, dict):
            raise InputError(f"Line {number} is not a JSON object with prompt and answer.")
        fields = {str(key).strip().lower(): value for key, value in row.items()}
        prompt, right = _first(fields, PROMPTS), _first(fields, ANSWERS)
        if prompt is None or right is None:
            raise InputError(
                f"Line {number} has the fields {', '.join(fields)[:80] or 'none'}; expected "
                "prompt and answer."
            )
        rows.append(_row(prompt, right, number))
    return rows


def _csv(text: str) -> list[Row]:
    first = text.strip("\n").split("\n", 1)[0]
    delimiter = "\t" if "\t" in first else ";" if ";" in first and "," not in first else ","
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    rows: list[Row] = []
    columns, begun = (0, 1), False
    try:
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            heads = [cell.strip().lower() for cell in cells]
            if not begun and (found := _columns(heads)):
                columns, begun = found, True
                continue
            begun = True
            if len(cells) <= max(columns):
                raise InputError(
                    f"Line {reader.line_num} has {len(cells)} "
                    f"{'column' if len(cells) == 1 else 'columns'}; expected a prompt and its "
                    "answer, divided by a comma or a tab (put quotes around text with commas)."
                )
            if columns == (0, 1) and len(cells) > 2 and not rows:
                raise InputError(
                    f"Line {reader.line_num} has {len(cells)} columns; expected two, or a first "
                    "line that names them prompt and answer. Put quotes around text with commas."
                )
            rows.append(_row(cells[columns[0]], cells[columns[1]], reader.line_num))
    except csv.Error as error:
        raise InputError(f"Line {reader.line_num} is not CSV ({error}).") from None
    return rows


def _columns(heads: Sequence[str]) -> tuple[int, int] | None:
    """Where a header has the prompt and the answer; None where it is no header."""
    prompt = next((heads.index(name) for name in PROMPTS if name in heads), None)
    right = next((heads.index(name) for name in ANSWERS if name in heads), None)
    return None if prompt is None or right is None else (prompt, right)


def _first(fields: Mapping[str, Any], names: Sequence[str]) -> Any:
    return next((fields[name] for name in names if fields.get(name) is not None), None)


def _row(prompt: Any, right: Any, line: int) -> Row:
    pair = (str(prompt).strip(), str(right).strip())
    for what, part in zip(("prompt", "answer"), pair, strict=True):
        if not part:
            raise InputError(f"Line {line} has no {what}.")
    _check_length(f"Line {line}", *pair)
    return pair


def _check_length(where: str, prompt: str, right: str) -> None:
    for what, part in (("prompt", prompt), ("answer", right)):
        if len(part) > MAX_CHARS:
            raise InputError(
                f"{where}: the {what} has {len(part):,} characters; at most {MAX_CHARS:,} fit: "
                "shorten it."
            )
