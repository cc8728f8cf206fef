"""Python functions with tests: MBPP, which trains, and HumanEval, which only tests.

MBPP's training rows are few for a small model; exercises that we wrote (exercises.jsonl: none that
is worded or solved like a row of MBPP's other splits or of HumanEval) train beside them. A right
completion is the reference solution in a fence, and the end token; what a model writes is run
against the tests in the sandbox.
"""

import ast
import json
from pathlib import Path
from typing import TYPE_CHECKING

from t2ui.errors import InputError
from t2ui.jsonl import read_jsonl
from t2ui.models.chat import answer_ids, chat_ids
from t2ui.models.questions import Question
from t2ui.tasks.base import Example, Task
from t2ui.tasks.hub import Row, Source, local_or_fetched, same_row
from t2ui.tasks.sandbox.run import run_python
from t2ui.tasks.splits import kept_apart, same_prompt
from t2ui.tasks.written_code import UNPARSABLE, code_in, names_bound, names_in, parsed

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# How the task is put. One test tells the function's name; the base model is shown under the style
# that suits it best. "paper" is the wording of the MBPP paper (Austin et al. 2021), with all tests.
STYLES = {
    "chat": "{prompt}\nYour code should pass this test:\n{test}",
    "signature": "{prompt}\nBegin with this line:\n{signature}",
    "paper": (
        "You are an expert Python programmer, and here is your task: {prompt} "
        "Your code should pass these tests:\n\n{tests}"
    ),
}
FUNCTION_STYLES = {
    "chat": "Complete this Python function:\n```python\n{prompt}\n```",
    "signature": "Write this Python function.\n{prompt}",
    "paper": "You are an expert Python programmer. Complete this function:\n\n{prompt}",
}
NEW_TOKENS = {"mbpp": 256, "humaneval": 384}
STOP = ("\n```\n\n",)  # a closed fence and an empty line: the code is written, prose would follow
EXERCISES = Path(__file__).with_name("exercises.jsonl")
PARTS = ("train", "validation", "test")
MBPP_FIELDS = ("task_id", "split", "prompt", "code", "test_list", "test_setup_code")
HUMANEVAL_FIELDS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")


def _mbpp_row(row: Row, split: str) -> Row:
    return {**row, "prompt": row["text"], "split": split}


MBPP_SPLITS = ("prompt", "train", "validation", "test")
HUB_FILES = {  # where the local files come from, if they have to be fetched
    "mbpp": {"full.jsonl": Source("google-research-datasets/mbpp", "full", MBPP_SPLITS, _mbpp_row)},
    "humaneval": {"test.jsonl": Source("openai/openai_humaneval", None, ("test",), same_row)},
}


def load(
    name: str, tokenizer: "PreTrainedTokenizerBase", data: Path, *, style: str = "chat"
) -> Task:
    """`mbpp` (full.jsonl, split as published) or `humaneval` (test.jsonl).

    Args:
        style: one of `STYLES`.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r}; expected {', '.join(STYLES)}.")
    parts: dict[str, list[Example]]
    folder = local_or_fetched(name, data, HUB_FILES[name]) / name
    if name == "mbpp":
        texts = ("prompt", "code", "test_setup_code")
        rows = read_jsonl(folder / "full.jsonl", MBPP_FIELDS, texts)
        # Those of split "prompt" are for few-shot prompts.
        train, validation, test = ([r for r in rows if r["split"] == part] for part in PARTS)
        # The same words ask for functions of two names in a few training and test rows.
        apart = kept_apart(train, validation, test, lambda row: same_prompt(row["prompt"]))
        parts = {
            part: [_mbpp(tokenizer, style, row) for row in kept]
            for part, kept in zip(PARTS, apart, strict=True)
        }
        own = exercises(tokenizer, style)
        parts["train"] += own
        source = {
            "train": f"MBPP train (Google Research, CC BY 4.0) and {len(own)} exercises written "
            "for this project (Apache-2.0)"
        }
    else:
        rows = read_jsonl(folder / "test.jsonl", HUMANEVAL_FIELDS, HUMANEVAL_FIELDS[1:])
        tests = [_humaneval(tokenizer, style, row) for row in rows]
        parts = {"train": [], "validation": [], "test": tests}
        source = {}
    return Task(
        name,
        tuple(parts["train"]),
        tuple(parts["validation"]),
        tuple(parts["test"]),
        labels=("code",),
        objective="open answers",
        data=source,
        grade=passes,
        max_new_tokens=NEW_TOKENS[name],
        stop=STOP,
    )


def exercises(tokenizer: "PreTrainedTokenizerBase", style: str) -> list[Example]:
    """The exercises that were written for this project."""
    rows = read_jsonl(EXERCISES, ("prompt", "code", "tests"))
    return [
        _asked_for(tokenizer, style, f"own {number}", row["prompt"], row["code"], row["tests"])
        for number, row in enumerate(rows, 1)
    ]


def passes(text: str, answer: str) -> bool:
    """Whether the code in a text passes the tests of an answer, as `answer_of` writes it."""
    wanted = json.loads(answer)
    before, entry = wanted["before"], wanted["entry"]
    code = code_in(text, entry, before, names_in(wanted["tests"]))
    # Behind a begun function stands either its body or, once more, the whole of it.
    whole = f"{before}\n{code}" if before else code
    if entry in names_bound(code) and not names_bound(whole):
        whole = f"{before} pass\n{code}"  # what was begun has no body of its own
    return run_python(whole, wanted["tests"], (entry,) if entry else ()).passed


def answer_of(tests: str, entry: str = "", before: str = "") -> str:
    """An answer for `passes`.

    Args:
        entry: the function that is asked for.
        before: code that the text continues, a signature with imports say.
    """
    return json.dumps({"tests": tests, "entry": entry, "before": before})


def are_texts(tests: object) -> bool:
    """Whether these are tests as a row may list them."""
    return isinstance(tests, list) and bool(tests) and all(isinstance(t, str) for t in tests)


def _mbpp(tokenizer: "PreTrainedTokenizerBase", style: str, row: dict) -> Example:
    where, code = f"mbpp {row['task_id']}", row["code"].replace("\r\n", "\n").strip()
    if not are_texts(row["test_list"]):
        raise InputError(f"{where}: test_list is {row['test_list']!r}; expected texts.")
    tests = [test.replace("\r\n", "\n").strip() for test in row["test_list"]]
    # two tasks need it, and after the solution, whose classes it uses
    setup = row["test_setup_code"].replace("\r\n", "\n")
    return _asked_for(tokenizer, style, where, row["prompt"].strip(), code, tests, setup)


def _asked_for(
    tokenizer: "PreTrainedTokenizerBase",
    style: str,
    where: str,
    prompt: str,
    code: str,
    tests: list[str],
    setup: str = "",
) -> Example:
    """A function that is described in words."""
    entry, signature = _under_test(code, tests, where)
    asked = STYLES[style].format(
        prompt=prompt, test=tests[0], tests="\n".join(tests), signature=signature
    )
    answer = answer_of("\n".join([setup, *tests]).strip(), entry)
    return _example(tokenizer, where, asked, code, answer)


def _humaneval(tokenizer: "PreTrainedTokenizerBase", style: str, row: dict) -> Example:
    before = row["prompt"].rstrip()
    asked = FUNCTION_STYLES[style].format(prompt=before.strip())
    tests = f"{row['test'].strip()}\n\ncheck({row['entry_point']})"
    helpers = _helpers(before, row["entry_point"], f"humaneval {row['task_id']}")
    tests = f"{helpers}\n\n{tests}" if helpers else tests
    code = f"{before.strip()}\n{row['canonical_solution'].rstrip()}"
    answer = answer_of(tests, row["entry_point"], before)
    return _example(tokenizer, f"humaneval {row['task_id']}", asked, code, answer)


def _helpers(prompt: str, entry: str, where: str) -> str:
    """The functions that a prompt gives beside the one to write, with its imports. Some tests call
    them: these must be the prompt's, not what an answer put in their place."""
    try:
        body = parsed(prompt).body
    except UNPARSABLE as error:
        raise InputError(f"{where}: the prompt is no Python ({error}).") from None
    given = [n for n in body if isinstance(n, ast.FunctionDef) and n.name != entry]
    imports = [n for n in body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return "\n".join(map(ast.unparse, [*imports, *given])) if given else ""


def _example(
    tokenizer: "PreTrainedTokenizerBase", row_id: str, asked: str, code: str, answer: str
) -> Example:
    target = answer_ids(tokenizer, f"```python\n{code}\n```")
    return Example(
        id=row_id,
        question=Question(tuple(chat_ids(tokenizer, asked)), (target,)),
        family=row_id.split()[0],
        answer=answer,
        prompt=asked,
    )


def _under_test(code: str, tests: list[str], where: str) -> tuple[str, str]:
    """(name, signature) of the function or class that the first test uses."""
    try:
        tested, solution = parsed("\n".join(tests)), parsed(code)
    except UNPARSABLE as error:
        raise InputError(f"{where}: the solution or its tests are no Python ({error}).") from None
    used = {n.id for n in ast.walk(tested) if isinstance(n, ast.Name)}
    named = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    defined = [n for n in solution.body if isinstance(n, named) and n.name in used]
    if not defined:
        raise InputError(f"{where}: the tests use nothing that the solution defines.")
    return defined[-1].name, code.split("\n")[defined[-1].lineno - 1].strip()
