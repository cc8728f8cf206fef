"""Code tasks and yes-or-no questions: their rows, their prompts, and whose answers are right."""

import ast
import builtins
import re
import sys
import warnings

import public_sets
import pytest
from public_sets import mbpp_row, write
from tiny import END_ID, text_of

from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.tasks import TASKS, load_task
from t2ui.tasks.code import EXERCISES, STYLES, answer_of, code_in, passes

mbpp = public_sets.mbpp  # a fixture
own_cache = public_sets.own_cache  # a fixture for every test here

HUMANEVAL_ROW = {
    "task_id": "HumanEval/0",
    "prompt": 'from typing import List\n\ndef total(v: List[int]) -> int:\n    """ Sum. """\n',
    "canonical_solution": "    return sum(v)\n",
    "test": "def check(candidate):\n    assert candidate([1, 2]) == 3\n",
    "entry_point": "total",
}
BODY = "    out = 0\n    for x in v:\n        out += x\n    return out"
WHOLE = f"def total(v):\n{BODY}"


def test_every_task_is_named():
    assert set(TASKS) >= {"mbpp", "humaneval", "strategyqa", "jsonl", "gsm8k", "arith", "dispatch"}


# --- code ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("style", STYLES)
def test_mbpp_by_its_published_split_with_the_functions_name_in_the_prompt(
    style, mbpp, tiny_tokenizer
):
    task = load_task("mbpp", tiny_tokenizer, mbpp, style=style)
    assert [len(part) for part in (task.validation, task.test)] == [1, 1]
    (example,) = (e for e in task.train if e.family == "mbpp")
    prompt = text_of(tiny_tokenizer, example.question.prompt)
    assert "Write a function to add 2." in prompt and "add(" in prompt
    assert ("assert add(-1) == 1" in prompt) == (style == "paper")
    assert "return x + 2" not in prompt
    assert example.target[-1] == END_ID
    written = text_of(tiny_tokenizer, example.target[:-1])
    assert written == "```python\nimport math\ndef add(x):\n\treturn x + 2\n```"
    assert task.grade(written, example.answer)
    assert not task.grade(written, task.test[0].answer)


def test_setup_runs_after_the_solution(tmp_path, tiny_tokenizer):
    """It uses the solution's own classes (MBPP 367 and 927)."""
    row = mbpp_row(
        367,
        "test",
        code="class Node:\n    def __init__(self, v): self.v = v\ndef get(n): return n.v",
        test_list=["assert get(root) == 3"],
        test_setup_code="root = Node(3)\r\n",
    )
    write(tmp_path / "mbpp" / "full.jsonl", [row])
    (example,) = load_task("mbpp", tiny_tokenizer, tmp_path).test
    assert passes(f"```python\n{row['code']}\n```", example.answer)


def test_humaneval_only_tests(tmp_path, tiny_tokenizer):
    write(tmp_path / "humaneval" / "test.jsonl", [HUMANEVAL_ROW])
    task = load_task("humaneval", tiny_tokenizer, tmp_path)
    assert task.train == task.validation == ()
    (example,) = task.test
    assert HUMANEVAL_ROW["prompt"].strip() in text_of(tiny_tokenizer, example.question.prompt)
    assert passes(text_of(tiny_tokenizer, example.target[:-1]), example.answer)


HELPED_ROW = {
    "task_id": "HumanEval/50",
    "prompt": "import math\n\ndef cut(x: float):\n    return math.floor(x)\n\n\n"
    'def whole(x: float) -> int:\n    """ As cut. """\n',
    "canonical_solution": "    return int(x)\n",
    "test": "def check(candidate):\n    assert candidate(7.5) == cut(7.5)\n",
    "entry_point": "whole",
}


def test_the_functions_that_a_prompt_gives_are_its_own_in_the_tests(tmp_path, tiny_tokenizer):
    write(tmp_path / "humaneval" / "test.jsonl", [HELPED_ROW])
    (example,) = load_task("humaneval", tiny_tokenizer, tmp_path).test
    assert passes(text_of(tiny_tokenizer, example.target[:-1]), example.answer)
    assert passes("```python\ndef whole(x):\n    return cut(x)\n```", example.answer)
    cheat = "```python\ndef cut(x):\n    return 0\n\ndef whole(x):\n    return 0\n```"
    assert not passes(cheat, example.answer)


def test_a_prompt_that_is_no_python_is_refused(tmp_path, tiny_tokenizer):
    write(tmp_path / "humaneval" / "test.jsonl", [HUMANEVAL_ROW | {"prompt": "def ("}])
    with pytest.raises(InputError, match="humaneval HumanEval/0: the prompt is no Python"):
        load_task("humaneval", tiny_tokenizer, tmp_path)


CHEATS = {
    32: "def poly(xs, x):\n    return 0\n\ndef find_zero(xs):\n    return 0",
    38: "def encode_cyclic(s):\n    return s\n\ndef decode_cyclic(s):\n    return s",
    50: "def encode_shift(s):\n    return s\n\ndef decode_shift(s):\n    return s",
}


def test_humaneval_takes_its_own_solutions_and_no_helper_made_easy(data_dir, tiny_tokenizer):
    rows = load_task("humaneval", tiny_tokenizer, data_dir).test
    for number in (0, 10, 64, 137, *CHEATS):
        example = rows[number]
        solution = text_of(tiny_tokenizer, example.target[:-1])
        assert passes(solution, example.answer), example.id
    for number, code in CHEATS.items():
        assert not passes(f"```python\n{code}\n```", rows[number].answer), number


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (f"Sure!\n```python\n{WHOLE}\n```\nThis adds.", True),
        (f"```\n{WHOLE}\n```", True),
        (f"```Python\n{WHOLE}", True),  # cut off before the fence closes
        (f"```python\n{WHOLE}\n\ndef other(x):\n    return (x", True),  # cut off in a later one
        (WHOLE, True),
        (f"{WHOLE}\n```\n\nThis adds the numbers up.", True),  # only closes its fence
        (f"Here it is:\n\n{WHOLE}\n\nIt adds the numbers up.", True),
        (BODY, True),
        (f"```python\n{BODY}\n```", True),
        ("```python\nimport os\n```\nand\n```python\n" + WHOLE + "\n```", True),
        ("```python\nassert total([1, 2]) == 3\n```", False),
        ("```python\ndef total(v):\n    return 3.5\n```", False),
        ("I cannot do that.", False),
        ("", False),
        ("```python\n```", False),
    ],
)
def test_code_is_found_in_what_models_write(text, right):
    check = f"{HUMANEVAL_ROW['test']}\ncheck(total)"
    assert passes(text, answer_of(check, "total", HUMANEVAL_ROW["prompt"])) is right


def test_code_in_leaves_prose_out():
    assert code_in("Well:\nimport re\nx = 1\nThat is all, folks.") == "import re\nx = 1"
    assert code_in("```py\nx = 1\n```\n```py\ndef f():\n    pass\n```", "f") == "def f():\n    pass"


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mbpp", {"style": "poem"}, "style is 'poem'; expected chat, signature"),
        ("humaneval", {}, "no data file"),
        ("poems", {}, "no task 'poems'"),
    ],
)
def test_bad_input(name, options, message, mbpp, tiny_tokenizer, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)  # as where it is not installed
    with pytest.raises(InputError, match=message):
        load_task(name, tiny_tokenizer, mbpp, **options)


def test_a_solution_that_its_tests_do_not_use_is_refused(tmp_path, tiny_tokenizer):
    write(tmp_path / "mbpp" / "full.jsonl", [mbpp_row(9, "test", test_list=["assert g(1) == 2"])])
    with pytest.raises(InputError, match="mbpp 9: the tests use nothing"):
        load_task("mbpp", tiny_tokenizer, tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"code": "def ("}, "mbpp 9: the solution or its tests are no Python"),
        ({"test_list": ["assert (("]}, "mbpp 9: the solution or its tests are no Python"),
        ({"test_list": "assert f(1)"}, "mbpp 9: test_list is 'assert f"),
        ({"prompt": 3}, "full.jsonl, line 1: prompt is 3; expected a text"),
    ],
)
def test_malformed_code_rows(change, message, tmp_path, tiny_tokenizer):
    write(tmp_path / "mbpp" / "full.jsonl", [mbpp_row(9, "test", **change)])
    with pytest.raises(InputError, match=message):
        load_task("mbpp", tiny_tokenizer, tmp_path)


def test_all_code_tasks_load(data_dir, tiny_tokenizer):
    task = load_task("mbpp", tiny_tokenizer, data_dir)
    published = [e for e in task.train if e.family == "mbpp"]
    assert [len(p) for p in (published, task.validation, task.test)] == [
        371,
        90,
        500,
    ]  # 374 as published
    assert len(task.train) == len(published) + len(read_jsonl(EXERCISES, ()))
    assert len(load_task("humaneval", tiny_tokenizer, data_dir).test) == 164


def test_our_exercises_are_right_and_all_different():
    rows = read_jsonl(EXERCISES, ("topic", "prompt", "code", "tests"))
    entries = []
    for row in rows:
        (defined,) = (n for n in ast.parse(row["code"]).body if isinstance(n, ast.FunctionDef))
        entries.append(defined.name)
        assert len(row["tests"]) == 3 and all(defined.name in test for test in row["tests"])
        assert defined.name not in row["prompt"]
    assert len(set(entries)) == len({row["prompt"] for row in rows}) == len(rows) > 300
    # In this process: they are ours, and the sandbox would take a minute.
    for row in rows:
        exec("\n".join([row["code"], *row["tests"]]), {})


def test_no_exercise_is_worded_or_solved_like_a_test_problem(data_dir):
    """Few common words, the usual ones aside, and no solution that is the same but for names."""
    mbpp = read_jsonl(data_dir / "mbpp" / "full.jsonl", ())
    human = read_jsonl(data_dir / "humaneval" / "test.jsonl", ())
    tested = [(r["prompt"], r["code"]) for r in mbpp if r["split"] != "train"]
    tested += [
        (
            r["prompt"].partition(">>>")[0].partition('"""')[2] or r["prompt"],
            r["prompt"] + r["canonical_solution"],
        )
        for r in human
    ]
    asked, solved = [words(p) for p, _ in tested], {nameless(code) for _, code in tested}
    for row in read_jsonl(EXERCISES, ("prompt", "code")):
        own = words(row["prompt"])
        assert max(len(own & other) / len(own | other) for other in asked) < 0.5, row["prompt"]
        assert nameless(row["code"]) not in solved, row["prompt"]


USUAL = set(
    "write a an the function to python of in from given that which is and or return "
    "returns whether for with by using it its".split()
)


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.casefold())) - USUAL


def nameless(code: str) -> str:
    """The code's form without its own names."""
    with warnings.catch_warnings():  # of escapes in other people's strings
        warnings.simplefilter("ignore")
        tree = ast.parse(code.replace("\r\n", "\n"))
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        for field in ("id", "arg", "name"):
            name = getattr(node, field, None)
            if isinstance(name, str) and not hasattr(builtins, name):
                setattr(node, field, names.setdefault(name, f"v{len(names)}"))
    return ast.dump(tree)


# --- yes or no -----------------------------------------------------------------------------------


@pytest.mark.parametrize("style", ["chat", "plain"])
def test_strategyqa_is_a_closed_question(tmp_path, tiny_tokenizer, style):
    rows = [{"qid": str(i), "question": f"Is {i} odd?", "answer": i % 2 == 1} for i in range(20)]
    write(tmp_path / "strategyqa" / "train.jsonl", rows)
    tests = [{**row, "question": f"Is {row['qid']} not even?"} for row in rows[:3]]
    write(tmp_path / "strategyqa" / "dev.jsonl", tests)
    task = load_task("strategyqa", tiny_tokenizer, tmp_path, style=style)
    assert [len(p) for p in (task.train, task.validation, task.test)] == [18, 2, 3]
    assert {e.id for e in task.train} | {e.id for e in task.validation} == set(map(str, range(20)))
    assert task.grade is None
    for example in task.test:
        said = text_of(tiny_tokenizer, example.target).strip()
        assert said == ("Yes" if int(example.id) % 2 else "No")
        assert len(example.question.options) == 2
    rows[1]["answer"] = "maybe"
    write(tmp_path / "strategyqa" / "dev.jsonl", rows)
    with pytest.raises(InputError, match="dev.jsonl, row 2: answer is 'maybe'"):
        load_task("strategyqa", tiny_tokenizer, tmp_path, style=style)
