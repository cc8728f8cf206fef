"""The dispatcher's own data: counts, labels, and no leak from training into evaluation.

`others.jsonl` trains the dispatcher; `dispatch_hard.jsonl` only ever tests it. What is checked here
is what a machine can check: that no prompt or run of words is in both, and that neither file is a
template filled in many times. Whether a label is right was decided by people reading the rows.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
OTHERS_FILE = ROOT / "t2ui" / "tasks" / "others.jsonl"
HARD_FILE = ROOT / "tests" / "data" / "dispatch_hard.jsonl"
BENCHMARKS = ROOT.parent / "shared" / "data"
BENCHMARK_PROMPTS = {
    "gsm8k/train.jsonl": "question",
    "arith_aggregate/all.jsonl": "question",
    "mbpp/full.jsonl": "prompt",
    "arc_easy/train.jsonl": "question",
    "arc_challenge/train.jsonl": "question",
    "strategyqa/train.jsonl": "question",
}

# Families whose rows mention numbers, software, science or a choice without asking for an answer
# of that kind: what a small dispatcher gets wrong first.
TRAP_FAMILIES = {
    "numbers_in_passing",
    "software_in_passing",
    "science_in_passing",
    "yes_no_everyday",
    "pick_one",
}
LABELS = {"math", "code", "reasoning", "others"}


def read_rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def words(text: str) -> list[str]:
    """Words and numbers in lower case, without punctuation, whatever their Unicode form."""
    return re.findall(r"\w+", unicodedata.normalize("NFKC", text).casefold())


def word_runs(text: str, length: int) -> set[tuple[str, ...]]:
    tokens = words(text)
    return {tuple(tokens[i : i + length]) for i in range(len(tokens) - length + 1)}


@pytest.fixture(scope="module")
def others() -> list[dict]:
    return read_rows(OTHERS_FILE)


@pytest.fixture(scope="module")
def hard() -> list[dict]:
    return read_rows(HARD_FILE)


def test_fields_are_complete_and_ids_unique(others, hard):
    for rows, fields in (
        (others, {"id", "split", "prompt", "family"}),
        (hard, {"id", "prompt", "label", "family", "note"}),
    ):
        for row in rows:
            assert set(row) == fields
            assert all(isinstance(value, str) and value.strip() for value in row.values()), row
            assert row["prompt"] == row["prompt"].strip()
        assert len({row["id"] for row in rows}) == len(rows)


def test_others_is_large_and_varied_enough(others):
    families = Counter(row["family"] for row in others)
    traps = sum(families[family] for family in TRAP_FAMILIES)
    assert len(others) >= 400
    assert len(families) >= 40
    assert max(families.values()) <= 0.1 * len(others)
    assert traps >= 0.25 * len(others)
    assert sum(len(words(row["prompt"])) >= 150 for row in others) >= 5
    assert sum(len(words(row["prompt"])) <= 3 for row in others) >= 15


def test_others_splits(others):
    splits = Counter(row["split"] for row in others)
    assert set(splits) == {"train", "validation"}
    assert 0.1 <= splits["validation"] / len(others) <= 0.2
    validation = [row for row in others if row["split"] == "validation"]
    assert TRAP_FAMILIES <= {row["family"] for row in validation}
    trained = {row["family"] for row in others if row["split"] == "train"}
    assert {row["family"] for row in validation} - trained, "no family is unseen in training"


def test_hard_has_the_required_labels(hard):
    labels = Counter(row["label"] for row in hard)
    assert set(labels) == LABELS
    assert len(hard) >= 240
    assert labels["others"] >= 120
    assert all(labels[label] >= 40 for label in LABELS)


def test_a_hard_family_has_one_label_and_is_not_trained_on(others, hard):
    labels = defaultdict(set)
    for row in hard:
        labels[row["family"]].add(row["label"])
    assert {family: found for family, found in labels.items() if len(found) > 1} == {}
    assert not set(labels) & {row["family"] for row in others}


def test_notes_say_whether_training_has_rows_of_that_kind(others, hard):
    trained = {row["family"] for row in others}
    for row in hard:
        if row["label"] == "others" and not row["note"].endswith("not trained on"):
            found = re.search(r"same (?:trap|kind) as (?:some rows of )?(\w+)$", row["note"])
            assert found and found[1] in trained, row


def test_prompts_are_unique(others, hard):
    counts = Counter(" ".join(words(row["prompt"])) for row in others + hard)
    assert [prompt for prompt, count in counts.items() if count > 1] == []


def test_no_six_words_in_a_row_are_in_both_files(others, hard):
    trained = {}
    for row in others:
        trained.update(dict.fromkeys(word_runs(row["prompt"], 6), row["id"]))
    shared = [
        (row["id"], trained[run], " ".join(run))
        for row in hard
        for run in word_runs(row["prompt"], 6)
        if run in trained
    ]
    assert shared == []


@pytest.mark.parametrize("path", [OTHERS_FILE, HARD_FILE], ids=lambda path: path.name)
def test_no_template_was_filled_in(path):
    """In a file, six words in a row occur once, an opening of four words three times at most."""
    rows = read_rows(path)
    runs = Counter(run for row in rows for run in word_runs(row["prompt"], 6))
    openings = Counter(
        tuple(words(row["prompt"])[:4]) for row in rows if len(words(row["prompt"])) > 4
    )
    assert [" ".join(run) for run, count in runs.items() if count > 1] == []
    assert [" ".join(start) for start, count in openings.items() if count > 3] == []


def test_hard_prompts_are_not_from_the_training_benchmarks(hard):
    if not BENCHMARKS.is_dir():
        pytest.skip(f"no benchmark data at {BENCHMARKS.relative_to(ROOT.parent)}")
    prompts = {" ".join(words(row["prompt"])): row["id"] for row in hard}
    runs = {run: row["id"] for row in hard for run in word_runs(row["prompt"], 8)}
    found = set()
    for name, field in BENCHMARK_PROMPTS.items():
        for row in read_rows(BENCHMARKS / name):
            same = prompts.get(" ".join(words(row[field])))
            found |= {(name, runs[run]) for run in word_runs(row[field], 8) & set(runs)}
            found |= {(name, same)} if same else set()
    assert found == set()
