"""The dispatcher's own data: counts, labels, and no leak from training into evaluation.

`requests.jsonl` trains the dispatcher, together with public sets; `dispatch_hard.jsonl` only ever
tests it. What is checked here is what a machine can check: that no prompt or run of words is in
both or in a public set, that neither file is a template filled in many times, and which rows are
made of them. Whether a label is right was decided by people reading the rows.
"""

import json
import re
import unicodedata
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from public_sets import write_public_sets

from t2ui.config import DEFAULT_MODEL, default_experts_dir
from t2ui.errors import InputError
from t2ui.svf.library import load_library
from t2ui.tasks import dispatch_rows

ROOT = Path(__file__).resolve().parents[2]
REQUESTS_FILE = dispatch_rows.OWN_REQUESTS
HARD_FILE = ROOT / "tests" / "data" / "dispatch_hard.jsonl"
BENCHMARK_PROMPTS = {
    "gsm8k/train.jsonl": "question",
    "arith_aggregate/all.jsonl": "question",
    "mbpp/full.jsonl": "prompt",
    "arc_easy/train.jsonl": "question",
    "arc_challenge/train.jsonl": "question",
    "strategyqa/train.jsonl": "question",
}
TEST_BENCHMARK_PROMPTS = {
    "gsm8k/test.jsonl": "question",
    "humaneval/test.jsonl": "prompt",
    "arc_easy/test.jsonl": "question",
    "arc_challenge/test.jsonl": "question",
    "strategyqa/dev.jsonl": "question",
}

# Families whose rows mention numbers, software, science or a choice without asking for an answer
# of that kind: what a small dispatcher gets wrong first.
TRAP_FAMILIES = {
    "numbers_in_passing",
    "software_in_passing",
    "science_in_passing",
    "yes_no_everyday",
    "pick_one",
    "matters_of_taste",
    "tales_with_quantities",
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


def with_label(rows: list[dict], label: str) -> list[dict]:
    return [row for row in rows if row["label"] == label]


@pytest.fixture(scope="module")
def requests() -> list[dict]:
    return read_rows(REQUESTS_FILE)


@pytest.fixture(scope="module")
def hard() -> list[dict]:
    return read_rows(HARD_FILE)


def test_fields_are_complete_and_ids_unique(requests, hard):
    for rows, fields in (
        (requests, {"id", "split", "prompt", "label", "family"}),
        (hard, {"id", "prompt", "label", "family", "note"}),
    ):
        for row in rows:
            assert set(row) == fields
            assert all(isinstance(value, str) and value.strip() for value in row.values()), row
            assert row["prompt"] == row["prompt"].strip()
            assert row["label"] in LABELS
        assert len({row["id"] for row in rows}) == len(rows)


def test_others_is_large_and_varied_enough(requests):
    others = with_label(requests, "others")
    families = Counter(row["family"] for row in others)
    traps = sum(families[family] for family in TRAP_FAMILIES)
    assert len(others) >= 400
    assert sum(row["split"] == "train" for row in others) <= dispatch_rows.PER_LABEL
    assert len(families) >= 40
    assert max(families.values()) <= 0.1 * len(others)
    assert traps >= 0.25 * len(others)
    assert sum(len(words(row["prompt"])) >= 150 for row in others) >= 5
    assert sum(len(words(row["prompt"])) <= 3 for row in others) >= 15


@pytest.mark.parametrize("label", sorted(LABELS - {"others"}))
def test_a_label_with_public_sets_has_enough_varied_requests_of_its_own(requests, label):
    rows = with_label(requests, label)
    families = Counter(row["family"] for row in rows)
    assert sum(row["split"] == "train" for row in rows) >= 110
    assert len(families) >= 10
    assert max(families.values()) <= 0.12 * len(rows)
    # Neither length nor a language may give the label away: every label has short, long and
    # not-English requests.
    assert sum(len(words(row["prompt"])) <= 4 for row in rows) >= 10
    assert sum(len(words(row["prompt"])) >= 60 for row in rows) >= 1
    assert families[f"{label}_es_fr_de"] >= 10


@pytest.mark.parametrize("label", sorted(LABELS))
def test_splits(requests, label):
    rows = with_label(requests, label)
    splits = Counter(row["split"] for row in rows)
    assert set(splits) == {"train", "validation"}
    assert 0.1 <= splits["validation"] / len(rows) <= 0.2
    families = {s: {r["family"] for r in rows if r["split"] == s} for s in splits}
    assert families["validation"] - families["train"], "no family is unseen in training"
    if label == "others":
        assert TRAP_FAMILIES <= families["validation"]


def test_a_family_has_one_label(requests):
    labels = defaultdict(set)
    for row in requests:
        labels[row["family"]].add(row["label"])
    assert {family: found for family, found in labels.items() if len(found) > 1} == {}


def test_hard_has_the_required_labels(hard):
    labels = Counter(row["label"] for row in hard)
    assert set(labels) == LABELS
    assert len(hard) >= 240
    assert labels["others"] >= 120
    assert all(labels[label] >= 40 for label in LABELS)


def test_a_hard_family_has_one_label_and_is_not_trained_on(requests, hard):
    labels = defaultdict(set)
    for row in hard:
        labels[row["family"]].add(row["label"])
    assert {family: found for family, found in labels.items() if len(found) > 1} == {}
    assert not set(labels) & {row["family"] for row in requests}


def test_notes_say_whether_training_has_rows_of_that_kind(requests, hard):
    trained = {row["family"] for row in with_label(requests, "others")}
    for row in hard:
        if row["label"] == "others" and not row["note"].endswith("not trained on"):
            found = re.search(r"same (?:trap|kind) as (?:some rows of )?(\w+)$", row["note"])
            assert found and found[1] in trained, row


def test_prompts_are_unique(requests, hard):
    """None has another's words, in whatever order."""
    counts = Counter(" ".join(sorted(words(row["prompt"]))) for row in requests + hard)
    assert [prompt for prompt, count in counts.items() if count > 1] == []


def test_no_six_words_in_a_row_are_in_both_files(requests, hard):
    trained = {}
    for row in requests:
        trained.update(dict.fromkeys(word_runs(row["prompt"], 6), row["id"]))
    shared = [
        (row["id"], trained[run], " ".join(run))
        for row in hard
        for run in word_runs(row["prompt"], 6)
        if run in trained
    ]
    assert shared == []


@pytest.mark.parametrize("path", [REQUESTS_FILE, HARD_FILE], ids=lambda path: path.name)
def test_no_template_was_filled_in(path):
    """In a file, six words in a row occur once, an opening of four words three times at most."""
    rows = read_rows(path)
    runs = Counter(run for row in rows for run in word_runs(row["prompt"], 6))
    openings = Counter(
        tuple(words(row["prompt"])[:4]) for row in rows if len(words(row["prompt"])) > 4
    )
    assert [" ".join(run) for run, count in runs.items() if count > 1] == []
    assert [" ".join(start) for start, count in openings.items() if count > 3] == []


@pytest.mark.parametrize(
    ("path", "benchmarks"),
    [
        (HARD_FILE, BENCHMARK_PROMPTS),
        (REQUESTS_FILE, BENCHMARK_PROMPTS | TEST_BENCHMARK_PROMPTS),
        (dispatch_rows.OWN_KINDS, BENCHMARK_PROMPTS | TEST_BENCHMARK_PROMPTS),
    ],
    ids=["hard", "requests", "kinds"],
)
def test_prompts_are_not_from_benchmarks(path, benchmarks, data_dir):
    """Test prompts are in no training set, our training prompts in no public set at all."""
    rows = read_rows(path)
    prompts = {" ".join(words(row["prompt"])): row["prompt"] for row in rows}
    runs = {run: row["prompt"] for row in rows for run in word_runs(row["prompt"], 8)}
    found = set()
    for name, field in benchmarks.items():
        for row in read_rows(data_dir / name):
            same = prompts.get(" ".join(words(row[field])))
            found |= {(name, runs[run]) for run in word_runs(row[field], 8) & set(runs)}
            found |= {(name, same)} if same else set()
    assert found == set()


@pytest.fixture(scope="module")
def public(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("public")
    write_public_sets(folder, 40)
    return folder


def own_prompts(rows, label: str) -> set[str]:
    """What `rows` have of our own requests under `label`."""
    index = dispatch_rows.LABELS.index(label)
    start = f"{dispatch_rows.OWN_FAMILY}: "
    return {r.id.removeprefix(start) for r in rows if r.correct == index and r.id.startswith(start)}


def test_own_requests_train_and_validate_under_their_labels(requests, tiny_tokenizer, public):
    task = dispatch_rows.load("dispatch", tiny_tokenizer, public)
    for label in LABELS:
        for split, rows in (("train", task.train), ("validation", task.validation)):
            wanted = {r["prompt"] for r in with_label(requests, label) if r["split"] == split}
            assert own_prompts(rows, label) == wanted
    assert dispatch_rows.OWN_FAMILY not in {row.family for row in task.test}
    assert not {row.id for row in task.train} & {row.id for row in task.validation + task.test}
    for family in ("gsm8k", "arith", "mbpp", "arc_easy", "arc_challenge", "strategyqa"):
        assert family in {row.family for row in task.train}
        assert family in {row.family for row in task.validation}


def test_left_out_families_are_not_trained_on(tiny_tokenizer, public):
    task = dispatch_rows.load("dispatch", tiny_tokenizer, public, leave_out=("gsm8k", "mbpp"))
    assert not {"gsm8k", "mbpp"} & {row.family for row in task.train + task.validation}
    assert {"gsm8k", "mbpp"} <= {row.family for row in task.test}
    with pytest.raises(InputError, match="no training prompts for others"):
        dispatch_rows.load(
            "dispatch", tiny_tokenizer, public, leave_out=(dispatch_rows.OWN_FAMILY,)
        )


def test_every_kind_has_prompts_to_train_and_others_to_test(requests, hard):
    rows = read_rows(dispatch_rows.OWN_KINDS)
    assert {row["label"] for row in rows} <= LABELS
    parts = Counter((row["family"], row["split"]) for row in rows)
    kinds = {row["family"] for row in rows}
    experts = load_library(default_experts_dir() / DEFAULT_MODEL).answering.values()
    assert kinds >= {expert.name for expert in experts if expert.task.startswith("rg:")}
    for kind in kinds:
        assert parts[kind, "train"] >= 36 and parts[kind, "test"] >= 12
        assert len({row["label"] for row in rows if row["family"] == kind}) == 1
    said = [" ".join(words(row["prompt"])) for row in (*rows, *requests, *hard)]
    assert [text for text, count in Counter(said).items() if count > 1] == []


def test_a_kind_is_trained_on_unless_it_is_left_out(tiny_tokenizer, public):
    rows = read_rows(dispatch_rows.OWN_KINDS)
    tested = Counter(row["family"] for row in rows if row["split"] == "test")
    task = dispatch_rows.load("dispatch", tiny_tokenizer, public, leave_out=("sums", "passages"))
    trained = Counter(row.family for row in task.train + task.validation)
    for kind in tested:
        assert (kind in trained) is (kind not in ("sums", "passages"))
    found = Counter(row.family for row in task.test)
    assert {kind: found[kind] for kind in tested} == tested


def test_hard_rows_say_whether_their_kind_is_trained(hard, tiny_tokenizer, public):
    task = dispatch_rows.load("dispatch", tiny_tokenizer, public, hard=HARD_FILE)
    counts = Counter(row.family for row in task.test if row.family.startswith("hard "))
    unseen = sum(row["note"].endswith("not trained on") for row in hard)
    assert counts == {
        "hard math": len(with_label(hard, "math")),
        "hard code": len(with_label(hard, "code")),
        "hard reasoning": len(with_label(hard, "reasoning")),
        "hard others, unseen kinds": unseen,
        "hard others, trained kinds": len(with_label(hard, "others")) - unseen,
    }
