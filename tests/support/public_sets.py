"""Stand-ins for the public data sets that tasks read, in the form of their files."""

import json
from pathlib import Path

import pytest

FILES = (
    *("gsm8k/train.jsonl", "gsm8k/test.jsonl", "arith_aggregate/all.jsonl"),
    *("mbpp/full.jsonl", "humaneval/test.jsonl"),
    *("arc_easy/train.jsonl", "arc_easy/test.jsonl"),
    *("arc_challenge/train.jsonl", "arc_challenge/test.jsonl"),
    *("strategyqa/train.jsonl", "strategyqa/dev.jsonl"),
)


def write_public_sets(folder: Path, count: int) -> None:
    """What the task `dispatch` reads, `count` rows per file."""
    choices = [{"label": "A", "text": "yes"}, {"label": "B", "text": "no"}]
    for name in FILES:
        rows = []
        for number in range(count):
            text = f"{name} {number}"
            row = {"question": text, "prompt": text, "choices": choices, "test_list": ["assert f"]}
            if name.startswith("arith"):  # no two alike: its split keeps those together
                word = "".join(chr(97 + int(digit)) for digit in str(number))
                row |= {"id": text, "question": f"sum {word}", "equation": "X=1+1", "answer": "2"}
            rows.append(row | {"split": "train" if number % 2 else "test"})
        write(folder / name, rows)


def write(path: Path, rows) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def mbpp_row(number: int, split: str, **changed) -> dict:
    return {
        "task_id": number,
        "split": split,
        "prompt": f"Write a function to add {number}.",
        "code": f"import math\r\ndef add(x):\r\n\treturn x + {number}",
        "test_list": [f"assert add(1) == {1 + number}", f"assert add(-1) == {number - 1}"],
        "test_setup_code": "",
        **changed,
    }


@pytest.fixture
def mbpp(tmp_path):
    rows = [
        mbpp_row(1, "prompt"),
        mbpp_row(2, "train"),
        mbpp_row(3, "validation"),
        mbpp_row(4, "test"),
    ]
    write(tmp_path / "mbpp" / "full.jsonl", rows)
    return tmp_path


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("T2UI_CACHE", str(tmp_path / "cache"))
