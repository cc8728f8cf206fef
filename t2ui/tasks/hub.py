"""Data sets that are not on this machine, from the Hugging Face hub in the form of local files.

Only with the package `datasets`; what was fetched once is kept in the cache. Where a task's files
are on the hub, its own file says.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2ui.config import default_cache_dir
from t2ui.errors import InputError

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a local file's rows are on the hub, and how one becomes a local row."""

    dataset: str
    configuration: str | None
    splits: tuple[str, ...]
    local: Callable[[Row, str], Row]  # (row, split)


Files = Mapping[str, Source]  # by file name, of one data set


def same_row(row: Row, split: str) -> Row:
    """For sets that have the local form on the hub too."""
    return dict(row)


def local_or_fetched(name: str, data: Path, files: Files) -> Path:
    """The folder of data sets to read the set `name` from: `data` where the set is there, else the
    cache, into which it is fetched. `data` too where the package `datasets` is missing.

    Raises:
        InputError: the hub cannot be reached, or gave other rows than expected.
    """
    if (data / name).is_dir():
        return data
    cache = default_cache_dir() / "data"
    missing = {f: s for f, s in files.items() if not (cache / name / f).is_file()}
    if missing:
        try:
            from datasets import load_dataset
        except ImportError:
            return data
        for file, source in missing.items():
            _write(cache / name / file, _rows(load_dataset, source))
    return cache


def _rows(load_dataset: Callable, source: Source) -> Iterator[Row]:
    for split in source.splits:
        try:
            for row in load_dataset(source.dataset, source.configuration, split=split):
                yield source.local(row, split)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{source.dataset} ({split}) could not be read from the hub "
                f"({type(error).__name__}: {str(error)[:120]}): give a folder that holds it."
            ) from None


def _write(path: Path, rows: Iterable[Row]) -> None:
    """Under a temporary name first, so that a broken download leaves no half file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    beside.replace(path)
