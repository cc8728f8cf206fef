"""Stand-ins for the public data sets that tasks read, in the form of their files."""

import json
from pathlib import Path

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
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
