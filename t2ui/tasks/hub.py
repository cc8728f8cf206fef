"""Data sets that are not on this machine, from the Hugging Face hub in the form of local files.

Only with the package `datasets`; what was fetched once is kept in the cache.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2ui.config import default_cache_dir
from t2ui.errors import InputError
from t2ui.files import writing

Row = dict[str, Any]


@dataclass(frozen=True)
class Source:
    """Where a local file's rows are on the hub, and how one becomes a local row."""

    dataset: str
    configuration: str | None
    splits: tuple[str, ...]
    local: Callable[[Row, str], Row]  # (row, split)


def _gsm8k(row: Row, split: str) -> Row:
    return {**row, "target": row["answer"].rsplit("####", 1)[-1].strip()}


def _arc(row: Row, split: str) -> Row:
    pairs = zip(row["choices"]["label"], row["choices"]["text"], strict=True)
    return {**row, "choices": [{"label": label, "text": text} for label, text in pairs]}


def _mbpp(row: Row, split: str) -> Row:
    return {**row, "prompt": row["text"], "split": split}


def _same(row: Row, split: str) -> Row:
    return dict(row)


FILES: dict[str, dict[str, Source]] = {
    "gsm8k": {
        f"{part}.jsonl": Source("openai/gsm8k", "main", (part,), _gsm8k)
        for part in ("train", "test")
    },
    **{
        name: {
            file: Source("allenai/ai2_arc", configuration, (split,), _arc)
            for file, split in (
                ("train.jsonl", "train"),
                ("dev.jsonl", "validation"),
                ("test.jsonl", "test"),
            )
        }
        for name, configuration in (("arc_easy", "ARC-Easy"), ("arc_challenge", "ARC-Challenge"))
    },
    "mbpp": {
        "full.jsonl": Source(
            "google-research-datasets/mbpp",
            "full",
            ("prompt", "train", "validation", "test"),
            _mbpp,
        )
    },
    "humaneval": {"test.jsonl": Source("openai/openai_humaneval", None, ("test",), _same)},
    "strategyqa": {
        "train.jsonl": Source("ChilleD/StrategyQA", None, ("train",), _same),
        "dev.jsonl": Source("ChilleD/StrategyQA", None, ("test",), _same),
    },
}


def local_or_fetched(name: str, data: Path) -> Path:
    """The folder of data sets to read `name` from: `data` where it is there, else the cache, into
    which it is fetched. `data` too where the hub does not have the set or `datasets` is missing.

    Raises:
        InputError: the hub cannot be reached, or gave other rows than expected.
    """
    if name not in FILES or (data / name).is_dir():
        return data
    cache = default_cache_dir() / "data"
    missing = {f: s for f, s in FILES[name].items() if not (cache / name / f).is_file()}
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
    with writing(path) as beside, beside.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
