"""Python functions with tests: MBPP, which trains, and HumanEval, which only tests.

MBPP's training rows are few for a small model; exercises that we wrote (exercises.jsonl: none that
is worded or solved like a row of MBPP's other splits or of HumanEval) train beside them. A right
completion is the reference solution in a fence, and the end token; what a model writes is run
against the tests in the sandbox.
"""

import ast
import json
import re
import warnings
from pathlib import Path

from t2ui.errors import InputError
from t2ui.models.chat import answer_ids, chat_ids
from t2ui.models.likelihood import Question
from t2ui.tasks.base import Example, Task
from t2ui.tasks.jsonl import read_jsonl
from t2ui.tasks.sandbox.run import run_python

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
MBPP_FIELDS = ("task_id", "split", "prompt", "code", "test_list", "test_setup_code")
HUMANEVAL_FIELDS = ("task_id", "prompt", "canonical_solution", "test", "entry_point")
FENCE = re.compile(
    r"```[ \t]*(?:python|py)?[ \t]*\n(.*?)(?:^[ \t]*```|\Z)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
FIRST_LINE = re.compile(r"^(?:def |class |import |from \w+ import|@|async def |\w+ *= )", re.M)


def load(name: str, tokenizer, data: Path, style: str = "chat") -> Task:
    """`mbpp` (full.jsonl, split as published) or `humaneval` (test.jsonl).

    Args:
        style: one of `STYLES`.
    """
    if style not in STYLES:
        raise InputError(f"style is {style!r}; expected {', '.join(STYLES)}.")
    parts: dict[str, list[Example]] = {"train": [], "validation": [], "test": []}
    if name == "mbpp":
        texts = ("prompt", "code", "test_setup_code")
        for row in read_jsonl(data / "mbpp" / "full.jsonl", MBPP_FIELDS, texts):
            if row["split"] in parts:  # those of split "prompt" are for few-shot prompts
                parts[row["split"]].append(_mbpp(tokenizer, style, row))
        own = exercises(tokenizer, style)
        parts["train"] += own
        source = {
            "train": f"MBPP train (Google Research, CC BY 4.0) and {len(own)} exercises written "
            "for this project (Apache-2.0)"
        }
    else:
        rows = read_jsonl(data / "humaneval" / "test.jsonl", HUMANEVAL_FIELDS, HUMANEVAL_FIELDS[1:])
        parts["test"] = [_humaneval(tokenizer, style, row) for row in rows]
        source = {}
    return Task(
        name,
        **{part: tuple(rows) for part, rows in parts.items()},
        labels=("code",),
        objective="open answers",
        data=source,
        grade=passes,
        max_new_tokens=NEW_TOKENS[name],
        stop=STOP,
    )


def exercises(tokenizer, style: str) -> list[Example]:
    """Our own exercises."""
    rows = read_jsonl(EXERCISES, ("prompt", "code", "tests"))
    return [
        _asked_for(tokenizer, style, f"own {number}", row["prompt"], row["code"], row["tests"])
        for number, row in enumerate(rows, 1)
    ]


def passes(text: str, answer: str) -> bool:
    """Whether the code in a text passes the tests of an answer, as `answer_of` writes it."""
    wanted = json.loads(answer)
    before, entry = wanted["before"], wanted["entry"]
    code = code_in(text, entry, before)
    # Behind a begun function stands either its body or, once more, the whole of it.
    whole = f"{before}\n{code}" if before else code
    return run_python(whole, wanted["tests"], (entry,) if entry else ()).passed


def answer_of(tests: str, entry: str = "", before: str = "") -> str:
    """An answer for `passes`.

    Args:
        entry: the function that is asked for.
        before: code that the text continues, a signature with imports say.
    """
    return json.dumps({"tests": tests, "entry": entry, "before": before})


def code_in(text: str, entry: str = "", before: str = "") -> str:
    """The Python of a text: of the fence that defines `entry`, else of the first fence, else (or
    if `entry` is defined before any fence) from the first line that looks like code; without
    trailing lines that are none."""
    fenced = [match[1] for match in FENCE.finditer(text)]
    if fenced:
        wanted = re.compile(rf"^\s*(?:def|class)\s+{re.escape(entry)}\b", re.MULTILINE)
        head = text[: text.index("```")]  # where code only closes its fence
        found = next((c for c in (*fenced, head) if entry and wanted.search(c)), fenced[0])
        if found is not head:
            return _that_parses(found, before)
        text = head
    if before and text[:1].isspace() and text.strip():  # the body of the function that was begun
        return _that_parses(text, before)
    first = FIRST_LINE.search(text)
    return _that_parses(text[first.start() :], before) if first else text


def are_texts(tests: object) -> bool:
    """Whether these are tests as a row may list them."""
    return isinstance(tests, list) and bool(tests) and all(isinstance(t, str) for t in tests)


def _that_parses(code: str, before: str) -> str:
    """Without the lines at its end that keep it from parsing: an answer cut short, or prose."""
    lines = code.rstrip().split("\n")
    for end in range(len(lines), 0, -1):
        kept = "\n".join(lines[:end])
        try:
            _parsed(f"{before}\n{kept}" if before else kept)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
        return kept
    return code


def _parsed(code: str) -> ast.Module:
    with warnings.catch_warnings():  # of escapes in other people's strings
        warnings.simplefilter("ignore")
        return ast.parse(code)


def _mbpp(tokenizer, style: str, row: dict) -> Example:
    where, code = f"mbpp {row['task_id']}", row["code"].replace("\r\n", "\n").strip()
    if not are_texts(row["test_list"]):
        raise InputError(f"{where}: test_list is {row['test_list']!r}; expected texts.")
    tests = [test.replace("\r\n", "\n").strip() for test in row["test_list"]]
    # two tasks need it, and after the solution, whose classes it uses
    setup = row["test_setup_code"].replace("\r\n", "\n")
    return _asked_for(tokenizer, style, where, row["prompt"].strip(), code, tests, setup)


def _asked_for(
    tokenizer, style: str, where: str, prompt: str, code: str, tests: list[str], setup: str = ""
) -> Example:
    """A function that is described in words."""
    entry, signature = _under_test(code, tests, where)
    asked = STYLES[style].format(
        prompt=prompt, test=tests[0], tests="\n".join(tests), signature=signature
    )
    answer = answer_of("\n".join([setup, *tests]).strip(), entry)
    return _example(tokenizer, where, asked, code, answer)


def _humaneval(tokenizer, style: str, row: dict) -> Example:
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
        body = _parsed(prompt).body
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: the prompt is no Python ({error}).") from None
    given = [n for n in body if isinstance(n, ast.FunctionDef) and n.name != entry]
    imports = [n for n in body if isinstance(n, (ast.Import, ast.ImportFrom))]
    return "\n".join(map(ast.unparse, [*imports, *given])) if given else ""


def _example(tokenizer, row_id: str, asked: str, code: str, answer: str) -> Example:
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
        tested, solution = _parsed("\n".join(tests)), _parsed(code)
    except (SyntaxError, ValueError, RecursionError) as error:
        raise InputError(f"{where}: the solution or its tests are no Python ({error}).") from None
    used = {n.id for n in ast.walk(tested) if isinstance(n, ast.Name)}
    defined = [n for n in solution.body if getattr(n, "name", None) in used]
    if not defined:
        raise InputError(f"{where}: the tests use nothing that the solution defines.")
    return defined[-1].name, code.split("\n")[defined[-1].lineno - 1].strip()
