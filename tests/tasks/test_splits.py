"""No prompt is in two parts of a task, and the parts of the public sets stay what they are."""

import hashlib
import random
from collections import Counter

import pytest
from public_sets import write

from t2ui.errors import InputError
from t2ui.tasks import load_task
from t2ui.tasks.splits import hold_out, kept_apart, same_prompt


def prompts(rows) -> set[str]:
    return {same_prompt(row.prompt) for row in rows}


def are_apart(task) -> bool:
    parts = [prompts(part) for part in (task.train, task.validation, task.test)]
    return len(set().union(*parts)) == sum(map(len, parts))


# --- the means -----------------------------------------------------------------------------------


def test_rows_of_different_prompts_are_held_out_from_the_front():
    assert hold_out(list("abcdefghij"), [2, 3], str) == [list("ab"), list("cde"), list("fghij")]
    assert hold_out(list("abc"), [], str) == [list("abc")]
    assert hold_out([], [1], str) == [[], []]


@pytest.mark.parametrize("seed", range(20))
def test_rows_of_one_prompt_go_together_and_none_is_lost(seed):
    chance = random.Random(seed)
    rows = [(chance.randrange(12), i) for i in range(40)]
    parts = hold_out(rows, [4, 4], lambda row: row[0])
    assert Counter(row for part in parts for row in part) == Counter(rows)
    asked = [{key for key, _ in part} for part in parts]
    assert sum(map(len, asked)) == len(set().union(*asked))
    assert all(parts)


def test_every_part_gets_a_prompt_where_there_are_enough():
    rows = list("a" * 10 + "b" * 10 + "c" * 10)
    assert [set(part) for part in hold_out(rows, [3, 3], str)] == [{"a"}, {"b"}, {"c"}]
    assert hold_out(list("aabbbb"), [2, 2], str) == [[], list("aa"), list("bbbb")]
    assert hold_out(list("aaaa"), [1], str) == [[], list("aaaa")]


def test_test_rows_stay_and_training_rows_go():
    train, validation, test = kept_apart("abcd", "bcx", "cyy", str)
    assert (train, validation, test) == (["a", "d"], ["b", "x"], ["c", "y", "y"])


def test_prompts_that_differ_in_white_space_are_the_same():
    assert same_prompt(" What\n is\t1+1? ") == same_prompt("What is 1+1?") != same_prompt("what")


# --- people's own rows ---------------------------------------------------------------------------


def test_own_rows_of_one_prompt_go_together(tmp_path, tiny_tokenizer):
    rows = [{"prompt": f"Say{' ' * (i % 3 + 1)}{i // 3}", "answer": "x"} for i in range(30)]
    task = load_task("jsonl", tiny_tokenizer, write(tmp_path / "a.jsonl", rows), reward="exact")
    assert are_apart(task) and task.train and task.validation and task.test
    assert len(task.train) + len(task.validation) + len(task.test) == 30
    assert "left out" not in task.data


def test_own_rows_that_stand_in_a_test_file_do_not_train(tmp_path, tiny_tokenizer):
    folder = tmp_path / "mine"
    for part, numbers in (("train", range(8)), ("validation", (6, 8)), ("test", (7, 8, 9))):
        write(folder / f"{part}.jsonl", [{"prompt": f"Say {i}", "answer": "x"} for i in numbers])
    task = load_task("jsonl", tiny_tokenizer, folder, reward="exact")
    assert are_apart(task)
    assert prompts(task.test) == {"Say 7", "Say 8", "Say 9"}
    assert prompts(task.validation) == {"Say 6"} and len(task.train) == 6
    assert task.data["left out"] == "3 rows, whose prompts are in two parts"


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"train": [1] * 9}, "train.jsonl has 1 prompts that no held-out row asks; more than 2"),
        ({"train": [1, 2], "validation": [3], "test": [1, 2]}, "has 0 prompts that no held-out"),
        ({"train": [1, 2], "validation": [3], "test": [3]}, "validation.jsonl asks only what test"),
    ],
)
def test_rows_that_cannot_be_kept_apart(parts, message, tmp_path, tiny_tokenizer):
    for part, numbers in parts.items():
        rows = [{"prompt": f"Say {i}", "answer": "x"} for i in numbers]
        write(tmp_path / "mine" / f"{part}.jsonl", rows)
    with pytest.raises(InputError, match=message):
        load_task("jsonl", tiny_tokenizer, tmp_path / "mine", reward="exact")


# --- public sets ---------------------------------------------------------------------------------


def test_gsm8k_rows_of_one_prompt_are_in_one_part(tmp_path, tiny_tokenizer):
    rows = [
        {"question": f"{i // 2}{' ' * (1 + i % 2)}+ 1?", "answer": "#### 2", "target": "2"}
        for i in range(60)
    ]
    write(tmp_path / "gsm8k" / "train.jsonl", rows)
    write(tmp_path / "gsm8k" / "test.jsonl", rows[:3])
    task = load_task("gsm8k", tiny_tokenizer, tmp_path)
    assert are_apart(task) and len(task.test) == 3 and task.validation
    assert len(task.train) + len(task.validation) == 56


# sha256 of the ids in order, its beginning. Experts' published numbers are on these rows.
TESTED = {
    "gsm8k": (1319, "1ad700458537d0a2"),
    "arith": (597, "2e5a10de2b3c71b0"),
    "arc_easy": (2376, "aae2bfb396a2eb59"),
    "arc_challenge": (1172, "e27b72037814d2c6"),
    "strategyqa": (229, "f08c87e1f10ec423"),
    "mbpp": (500, "5880cf44db88118f"),
    "humaneval": (164, "66a9ef1736af2dbb"),
}


@pytest.mark.parametrize("name", TESTED)
def test_public_test_rows_stay_what_they_are(name, data_dir, tiny_tokenizer):
    task = load_task(name, tiny_tokenizer, data_dir)
    ids = [row.id for row in task.test]
    seen = hashlib.sha256("\n".join(ids).encode()).hexdigest()[:16]
    assert (len(ids), seen) == TESTED[name]
    assert are_apart(task)


def test_dispatch_rows_are_kept_apart(data_dir, tiny_tokenizer):
    task = load_task("dispatch", tiny_tokenizer, data_dir)
    asked = [
        {same_prompt(row.id.removeprefix(f"{row.family}: ")) for row in part}
        for part in (task.train, task.validation, task.test)
    ]
    assert sum(map(len, asked)) == len(set().union(*asked))
