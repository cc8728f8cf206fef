"""People's own data: files of rows, each reward that judges them, and rows that none can."""

from pathlib import Path

import pytest
from public_sets import write
from tiny import text_of

from t2ui.errors import InputError
from t2ui.tasks import load_task


def own(folder: Path, tokenizer, rows, **options):
    return load_task("jsonl", tokenizer, write(folder / "mine.jsonl", rows), **options)


def test_own_rows_with_every_reward(tmp_path, tiny_tokenizer):
    cases = {
        "exact": ({"answer": "Paris"}, "Paris ", "paris"),
        "number": ({"answer": "1,200"}, "so it is $1200.", "200"),
        "contains": ({"answer": "Paris"}, "It is paris!", "Parisian"),
        "regex": ({"answer": r"^\d+$"}, "12", "twelve"),
        "choice": ({"answer": "iron", "choices": ["wood", "iron"]}, "The answer is B", "A"),
        "python": ({"tests": ["assert f(1) == 2"]}, "def f(x): return 2 * x", "def f(x): return x"),
    }
    for reward, (fields, right, wrong) in cases.items():
        rows = [{"prompt": f"Question {i}", **fields} for i in range(10)]
        task = own(tmp_path, tiny_tokenizer, rows, reward=reward, max_new_tokens=40, label="mine")
        assert [len(p) for p in (task.train, task.validation, task.test)] == [8, 1, 1]
        assert task.max_new_tokens == 40 and task.labels == ("mine",)
        answer = task.train[0].answer
        assert task.grade(right, answer) and not task.grade(wrong, answer), reward
        if reward not in ("python", "regex"):  # there the answer itself is no right text
            target = text_of(tiny_tokenizer, task.train[0].target[:-1])
            assert task.grade(target, answer), reward


def test_choices_are_listed_where_the_model_is_to_write_the_key(tmp_path, tiny_tokenizer):
    rows = [{"prompt": f"{i} Which?", "choices": ["wood", "iron"], "answer": "B"} for i in range(5)]
    (example, *_) = own(tmp_path, tiny_tokenizer, rows, reward="choice").train
    assert "Which?\nA. wood\nB. iron" in text_of(tiny_tokenizer, example.question.prompt)


def test_choices_without_a_reward_are_compared_by_likelihood(tmp_path, tiny_tokenizer):
    choices = [{"label": "1", "text": "wood"}, {"label": "2", "text": "iron"}]
    rows = [{"prompt": f"{i} Which?", "choices": choices, "answer": 2} for i in range(5)]
    task = own(tmp_path, tiny_tokenizer, rows)
    assert task.grade is None and task.train[0].correct == 1
    assert [text_of(tiny_tokenizer, o) for o in task.train[0].question.options] == ["wood", "iron"]


def test_a_folder_says_what_is_held_out(tmp_path, tiny_tokenizer):
    rows = [{"prompt": str(i), "answer": str(i)} for i in range(12)]
    write(tmp_path / "mine" / "train.jsonl", rows[:6])
    write(tmp_path / "mine" / "test.jsonl", rows[6:])
    task = load_task("jsonl", tiny_tokenizer, tmp_path / "mine", reward="exact")
    assert [len(p) for p in (task.train, task.validation, task.test)] == [5, 1, 6]
    held = {e.answer for e in (*task.train, *task.validation)}
    assert held == set(map(str, range(6))) and task.name == "mine"


@pytest.mark.parametrize(
    ("row", "reward", "message"),
    [
        ({"answer": "x"}, "", r"row \d: no choices. Add them, or say how"),
        ({"answer": "x"}, "luck", "reward is 'luck'; expected exact, number"),
        ({"answer": "x"}, "number", r"row \d: answer 'x' holds no number"),
        ({"answer": " "}, "exact", r"row \d: the answer is empty"),
        ({"answer": "("}, "regex", r"row \d: answer '\(' is no pattern"),
        ({"answer": "x", "choices": ["a", "b"]}, "choice", "is none of A, B and no choice's text"),
        ({"answer": "A", "choices": ["a"]}, "choice", "expected a list of at least two"),
        ({"answer": "A", "choices": ["a", ""]}, "", "expected a list of at least two"),
        ({"tests": []}, "python", r"row \d: tests are \[\]"),
        ({"answer": "x"}, "python", "no field tests"),
        ({"answer": "x", "prompt": " "}, "exact", r"row \d: prompt is ' '"),
        ({"answer": None}, "exact", r"row \d: answer is None; expected a text or a number"),
        ({"answer": ["x"]}, "contains", r"row \d: answer is \['x'\]"),
        ({"tests": [1, 2]}, "python", r"row \d: tests are \[1, 2\]; expected asserts"),
        ({"tests": "assert (("}, "python", r"row \d: the tests are no Python"),
    ],
)
def test_own_rows_that_cannot_be_judged(row, reward, message, tmp_path, tiny_tokenizer):
    with pytest.raises(InputError, match=message):
        own(tmp_path, tiny_tokenizer, [{"prompt": "q", **row}] * 4, reward=reward)


def test_too_few_rows_to_hold_any_out(tmp_path, tiny_tokenizer):
    with pytest.raises(InputError, match="mine.jsonl has 2 rows: too few"):
        own(tmp_path, tiny_tokenizer, [{"prompt": "q", "answer": "a"}] * 2, reward="exact")
