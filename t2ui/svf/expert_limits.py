"""How large an expert's texts and its file may be. What is beyond is one clear line, never a crash.

An expert file may come from anybody, and one that the page could not show or that fills the memory
would take the others with it. Knows names and numbers only, no tensors.
"""

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from t2ui.errors import InputError, quoted

MOST_CHARACTERS = {
    "name": 100,
    "description": 4_000,
    "base_model": 300,
    "fingerprint": 1_000,
    "task": 300,
    "objective": 100,
    "created": 100,
    "license": 100,
    "sha256": 100,
}
MOST_JSON = 200_000  # characters of `training`, and of `metrics`
MOST_LABELS, LONGEST_LABEL = 64, 100
MOST_TENSORS = 100_000  # a mixture of experts with 160 experts in each of 60 layers has 30,000
LONGEST_TENSOR_NAME = 300
MOST_BYTES = 2**30  # of a file; an expert of a model with 70 billion parameters has 9 MB


def shown_name(path: Path) -> str:
    """A file's name as text: bytes that are no UTF-8 become U+FFFD."""
    return path.name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def check_file(path: Path) -> None:
    """Before the file is opened.

    Raises:
        InputError: its name is no text, there is no such file, or it is far too large.
    """
    if shown_name(path) != path.name:
        raise InputError(f"{shown_name(path)}: the file's name is not UTF-8 text: rename it.")
    if not path.is_file():
        raise InputError(f"There is no expert file at {path}: check the path.")
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise InputError(
            f"{path.name} has {size:,} bytes; an expert has at most {MOST_BYTES:,}: this is "
            "another kind of safetensors file."
        )


def check_header(what: str, metadata: Mapping[str, str], tensors: Collection[str]) -> None:
    """Before the tensors, of which the names are given, are read and the metadata is parsed.

    Raises:
        InputError: too many tensors, or a text that is too long.
    """
    if len(tensors) > MOST_TENSORS:
        raise InputError(
            f"{what} holds {len(tensors):,} tensors; an expert has at most {MOST_TENSORS:,}."
        )
    for tensor in tensors:
        _check_length(f"{what}: the name of a tensor", tensor, LONGEST_TENSOR_NAME)
    for key, text in metadata.items():
        _check_length(f"{what}: its {key}", text, MOST_CHARACTERS.get(key, MOST_JSON))


def check_expert(
    texts: Mapping[str, str],  # by field, the name among them
    labels: tuple[str, ...],
    records: Mapping[str, Any],  # training and metrics
    tensors: Collection[str],
) -> None:
    """What the file of this expert will hold, so that a file that was saved can be read.

    Raises:
        InputError: a text that is too long, a name that cannot be printed in a line, or too many
            labels or tensors.
    """
    name = quoted(texts["name"])
    for key, text in texts.items():
        _check_length(f"Expert {name}: its {key}", text, MOST_CHARACTERS[key])
    _check_line(f"Expert {name}: its name", texts["name"])
    if len(labels) > MOST_LABELS:
        raise InputError(
            f"Expert {name} has {len(labels):,} labels; at most {MOST_LABELS} are allowed."
        )
    for label in labels:
        _check_length(f"Expert {name}: a label", label, LONGEST_LABEL)
        _check_line(f"Expert {name}: the label {quoted(label)}", label)
    for key, record in records.items():
        written = json.dumps(record, ensure_ascii=False, default=str)
        _check_length(f"Expert {name}: its {key}", written, MOST_JSON)
    check_header(f"Expert {name}", {}, tensors)


def _check_length(what: str, text: str, most: int) -> None:
    if len(text) > most:
        raise InputError(f"{what} has {len(text):,} characters; at most {most:,} are allowed.")


def _check_line(what: str, text: str) -> None:
    """A name is shown within lines, where a control character would break them."""
    if not text.isprintable():
        bad = next(character for character in text if not character.isprintable())
        raise InputError(
            f"{what} holds U+{ord(bad):04X}, which cannot be printed in a line: remove it."
        )
