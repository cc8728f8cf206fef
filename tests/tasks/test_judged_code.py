"""Code in what models write: it is found, in the sandbox it is judged; and all reference solutions
of the public sets pass."""

import json
import random
from concurrent.futures import ThreadPoolExecutor

import layers
import pytest

from t2ui.jsonl import read_jsonl
from t2ui.tasks import load_task
from t2ui.tasks.code import answer_of, passes
from t2ui.tasks.written_code import code_in

pytestmark = layers.needs_linux

TESTS = "assert add(2,3)==5"
ADD = "def add(a, b):\n    return a + b"
BEGUN = 'def add(a: int, b: int) -> int:\n    """ add """'


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (f"```bash\npip install x\n```\n```python\n{ADD}\n```", True),
        ("```bash\npip install x\n```\n```python\ndef add(a,b):\n    return a-b\n```", False),
        (f"```text\n5\n```\nThe code:\n```python\n{ADD}\n```", True),
        ("1. Write:\n   ```python\n   def add(a,b):\n       return a+b\n   ```", True),
        (
            "```python\nimport math\n```\n"
            "```python\ndef add(a,b):\n    return int(math.fsum([a,b]))\n```",
            True,
        ),
        (
            "```python\ndef inc(a, b):\n    return a + b\n```\nand then\n"
            "```python\ndef add(a,b):\n    return inc(a,b)\n```",
            True,
        ),
        # fences
        (f"~~~python\n{ADD}\n~~~", True),
        (f"~~~\n{ADD}\n# ```\n~~~", True),
        (f"````python\n{ADD}\n````", True),
        (f"```Python3\n{ADD}\n```", True),
        (f"```{{.python}}\n{ADD}\n```", True),
        (f'```python title="x.py"\n{ADD}\n```', True),
        (f"```python\n{ADD}", True),
        (f"```python\nimport math\n```python\n{ADD}\n```", True),
        (f"```python\n{ADD}\n```".replace("\n", "\r\n"), True),
        ("```def add(a, b):\n    return a + b```", True),
        ("```python def add(a, b): return a + b```", True),
        ("1. ```python\n   def add(a, b):\n       return a + b\n   ```", True),
        ("> ```python\n> def add(a, b):\n>     return a + b\n> ```", True),
        (
            '```python\ndef add(a, b):\n    """\n    ```\n    add(1, 2)\n    ```\n    """\n'
            "    return a + b\n```",
            True,
        ),
        (f'```python\nq = \'"""\'\n{ADD}\n```\nThen ``` and\n```python\nprint(1)\n```', True),
        (f"```scala\ndef add(a: Int, b: Int): Int = a + b\n```\n```python\n{ADD}\n```", True),
        (f"```ruby\ndef add(a, b)\n  a + b\nend\n```\n```python\n{ADD}\n```", True),
        (f"Output:\n```\n5\n```\nCode:\n```\n{ADD}\n```", True),
        # which of several
        (f"```python\n{ADD}\n```\nUse:\n```python\nprint(add(1, 2))\nadd('a')\ninput()\n```", True),
        (
            f"```python\n{ADD}\n```\n```python\nfrom mine import add\nassert add(2, 3) == 5\n```",
            True,
        ),
        (f"```python\ndef add(a, b):\n    return a - b\n```\nNo:\n```python\n{ADD}\n```", True),
        (f"```python\n{ADD}\n```\nNo:\n```python\ndef add(a, b):\n    return a - b\n```", False),
        (f"```python\n{ADD}\n```\n```python\ndef add(a, b):\n    c = a", True),  # cut short
        (
            "```python\ndef add(a, b):\n    return inc(a, b)\n```\n"
            "```python\ndef inc(a, b):\n    return a + b\n```",
            True,
        ),
        ("```python\nK = 0\n```\n```python\ndef add(a, b):\n    return a + b + K\n```", True),
        (
            "```python\nfrom math import *\n```\n"
            "```python\ndef add(a, b):\n    return int(fsum([a, b]))\n```",
            True,
        ),
        (f"```python\nimport functools\n```\n```python\n@functools.lru_cache\n{ADD}\n```", True),
        ("```python\nadd = lambda a, b: a + b\n```", True),
        ("```python\nfrom operator import add\n```", True),
        # without fences
        (f"Sure, import the idea first.\n\n{ADD}\n\nIt adds.", True),
        (f"import math\n\nNow the function:\n\n{ADD}\n\nDone.", True),
        (f"{ADD}\n\nDone", True),
        (f"{ADD}\n\nOutput: five", True),
        ("Here:\n\n    def add(a, b):\n        return a + b\n\nDone", True),
        (f"{ADD}\n```\nadd(1,2)\n```\n5\n```\nx\n```", True),
        ("```javascript\nfunction add(a,b){return a+b}\n```", False),
        ("I cannot do that.", False),
        ("```python\n```", False),
    ],
)
def test_a_whole_function(text, right):
    assert passes(text, answer_of(TESTS, "add")) is right


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("    return a+b\n```\nThis adds the numbers.", True),
        ("    return a + b\n\nThis adds the numbers.", True),
        ("    return a + b\n\nExample:\n```python\nadd(1, 2)\n```", True),
        ("return a + b", True),
        ("c = a\n    c += b\n    return c", True),  # the first line has lost its indentation
        ("```python\nreturn a + b\n```", True),
        ("1. So:\n   ```python\n   return a + b\n   ```", True),
        ("    return inc(a, b)\n```\nand\n```python\ndef inc(a, b):\n    return a + b\n```", True),
        (f"```python\n{ADD}\n```", True),
        ("    return a - b\n```\nThis adds the numbers.", False),
        ("Sure", False),
    ],
)
@pytest.mark.parametrize("before", [BEGUN, "def add(a, b):"])
def test_the_body_of_a_function_that_was_begun(text, right, before):
    assert passes(text, answer_of(TESTS, "add", before)) is right


def test_what_the_tests_use_is_taken_along():
    text = f"```python\nclass Node:\n    pass\n```\n```python\n{ADD}\n```"
    assert passes(text, answer_of("assert Node() is not None\n" + TESTS, "add"))
    assert not passes(text, answer_of("assert Leaf() is not None\n" + TESTS, "add"))
    assert passes(text, answer_of(TESTS))  # without the name of what is asked for


PIECES = (
    *("```", "```python", "~~~", "\n", "def add(a, b):\n", "    return a + b\n", "import math\n"),
    *(
        '"""',
        "'''",
        "(",
        "[",
        "x = 1\n",
        "@",
        "class X:\n",
        "if x:\n",
        "\\\n",
        "\0",
        "\ud800",
        "> ",
    ),
    *("- ", "1. ", " ", "\t", "f'{a b}'", "\r\n", "Done\n", "a: b\n", "-", "lambda:"),
)


def test_no_text_is_refused():
    chance = random.Random(0)
    for _ in range(600):
        text = "".join(chance.choices(PIECES, k=chance.randrange(30)))
        for before in ("", BEGUN):
            assert isinstance(code_in(text, "add", before, {"add"}), str)


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    "piece", [*PIECES, "```\n", "```python\nx\n```\n", "def f():\n", "x = 1\nno\n"]
)
def test_long_texts_take_no_long_time(piece):
    code_in(f"{piece * 5_000}\n{ADD}", "add", BEGUN)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("name", "count"), [("humaneval", 164), ("mbpp", 974)])
def test_every_reference_solution_passes(name, count, data_dir, tiny_tokenizer, tmp_path):
    if name == "mbpp":  # all rows, those for few-shot prompts and those in two parts as well
        rows = read_jsonl(data_dir / "mbpp" / "full.jsonl", ())
        (tmp_path / "mbpp").mkdir()
        file = tmp_path / "mbpp" / "full.jsonl"
        file.write_text("".join(json.dumps({**row, "split": "test"}) + "\n" for row in rows))
        data_dir = tmp_path
    rows = [row for row in load_task(name, tiny_tokenizer, data_dir).test]
    written = [tiny_tokenizer.decode(row.target[:-1]) for row in rows]
    with ThreadPoolExecutor(2) as pool:
        right = list(pool.map(passes, written, [row.answer for row in rows]))
    assert len(rows) == count
    assert [row.id for row, passed in zip(rows, right, strict=True) if not passed] == []
