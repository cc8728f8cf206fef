"""Answers that only look right: objects that equal everything, exceptions that end the tests, and
messages that no answer sends."""

import layers
import pytest
from layers import SHORT, TESTS

from t2ui.tasks.sandbox.run import run_python

pytestmark = layers.needs_linux

DATES = "import datetime\nassert f(2) == datetime.date(2020, 1, 2)"
OWN = "class MyError(Exception): pass\n"
RAISES = "try:\n    f(2)\n    ok = False\nexcept MyError:\n    ok = True\nassert ok"
YES = """
class Yes({base}):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __sub__ = __add__ = __eq__
    __rsub__ = __radd__ = __instancecheck__ = __eq__
    __hash__ = object.__hash__
    def __getattr__(self, name): return lambda *a, **k: True
"""
WRONG = {
    "another date": ("import datetime\ndef f(x): return datetime.date(2020, 1, 3)", DATES),
    "a date of its own": (
        "import datetime" + YES.format(base="datetime.date") + "def f(x): return Yes(2000, 1, 1)",
        DATES,
    ),
    "a class called date": (
        YES.format(base="object").replace("Yes", "date")
        + "date.__module__ = 'datetime'\ndef f(x): return date()",
        DATES,
    ),
    "a named tuple of its own": (
        YES.format(base="tuple") + "def f(x): return Yes((1,))",
        "assert f(2) == (1, 2)",
    ),
    "a tuple between two": (
        "n = [0]" + YES.format(base="tuple") + "def f(x): return Yes((1,))",
        "assert (5,) < f(2) < (9,)",
    ),
    "a list that changes": (
        "n = [0]\nclass Yes(list):\n    def __iter__(self):\n        n[0] += 1\n"
        "        return iter([n[0]])\ndef f(x): return Yes()",
        "r = f(2)\nassert r == [1] or r == [2] or r == [3]",
    ),
    "an index": (YES.format(base="int") + "def f(x): return Yes(9)", "assert [1, 2][f(2)] == 2"),
    "in what it returns": (YES.format(base="list") + "def f(x): return Yes()", "assert 4 in f(2)"),
    "a difference": (YES.format(base="float") + "def f(x): return Yes(9)", "assert not f(2) - 4"),
    "no exception": (OWN + "def f(x): return x", RAISES),
    "another exception": (OWN + "def f(x): raise ValueError", RAISES),
    "an exception of that name": (
        OWN + "def f(x): raise type('MyError', (Exception,), {})",
        RAISES,
    ),
    "an exception that is no class": ("MyError = 5\ndef f(x): raise ValueError", RAISES),
    "StopIteration where the tests loop": (
        "def f(x): raise StopIteration",
        "assert all(map(lambda c: f(c) == 4, [2, 3]))",
    ),
    "a skipped test": (
        "import unittest\ndef f(x): raise unittest.SkipTest('no')",
        "import unittest\nclass T(unittest.TestCase):\n    def test(self): assert f(2) == 4\n"
        "r = unittest.TestResult()\nT('test').run(r)\nassert r.wasSuccessful()",
    ),
    "its end, caught": (
        "import os\ndef f(x): os._exit(0)",
        "try: f(2)\nexcept Exception: pass\ntry: f(3)\nexcept: pass",
    ),
    "a context that swallows": (
        "class f:\n    def __init__(self, x): pass\n    def __enter__(self): return self\n"
        "    def __exit__(self, *raised): return True",
        "with f(2):\n    assert 1 == 2",
    ),
    "methods of an exception": (
        "def f(x):\n    e = ValueError(x)\n    e.with_traceback = lambda t: 5\n    raise e",
        "try: f(2)\nexcept ValueError as e: assert e.with_traceback(None) == 5",
    ),
    "its end with a status": ("import sys\ndef f(x): sys.exit(0)", "f(2)"),
    "a module that is not there": ("import numpy\ndef f(x): return 4", "assert f(2) == 4"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_answers_do_not(name):
    code, tests = WRONG[name]
    verdict = run_python(code, tests, limits=SHORT)
    assert not verdict.passed and verdict.reason


FORGED = """
import json, os, sys
def f(x):
    frame = sys._getframe()
    while "self" not in frame.f_locals or not hasattr(frame.f_locals["self"], "write"):
        frame = frame.f_back
    frame.f_locals["self"].write({said!r})
    frame.f_locals["self"].writer.flush()
    frame.f_locals["self"].receive()
    os._exit(0)
"""
SAID = (
    *('["own", 1, ["own", 1, 4]]', '["own", 1, ["mine", 1]]', '["own", 1, ["builtin", "int"]]'),
    *('["own", 1, true]', '["own", true, 4]', '["own", -1, 9]', '["own"]', '["yours", 0]'),
    *('["std", "os.system", "true"]', '["std", "pathlib.Path", "/"]', '["std", "subprocess"]'),
    *('["std", "datetime.date", 1]', '["std", "array.array", "i", "x"]', '["std"]', '["D", 4]'),
    *('["lib", "os", "getpid"]', '["n", "P", ["x"], 4]', '["n", "x y", [], 1]', '["1", "x"]'),
    *('["x", 1, "E", [["builtin", "int"]]]', '["x", 1, "a b", []]', '["x", 1, "E", 5]'),
    *('["e", "builtins.int", "int"]', '["e", "os.system", "system"]', '["e", "wire.Ended", "E"]'),
    *('["e", "unittest.case.SkipTest", "Exception"]', '["X", 1, "", [], null, [], null]'),
    *('["X", ["e", "builtins.ValueError", "ValueError"], 5, 6, 7, 8, 9]', '["g", "x"]', '["X"]'),
)


@pytest.mark.parametrize("value", SAID)
@pytest.mark.parametrize("as_what", ["ok", "raise"])
def test_forged_messages_are_no_answers(value, as_what):
    said = f'["ok", {value}, []]' if as_what == "ok" else f'["raise", {value}]'
    verdict = run_python(FORGED.format(said=said), TESTS, limits=SHORT)
    assert not verdict.passed and verdict.reason
