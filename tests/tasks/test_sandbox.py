"""Right answers pass; those that cheat do not."""

import layers
import pytest
from layers import SHORT, TESTS, every_layer

from t2ui.errors import InputError
from t2ui.tasks.sandbox import run as sandbox
from t2ui.tasks.sandbox.run import Limits, Verdict, isolation, run_python

pytestmark = layers.needs_linux

landlock = layers.landlock  # a fixture


# --- answers as they should be -------------------------------------------------------------------


@every_layer
def test_a_right_answer_passes_and_a_wrong_one_says_where(walls):
    right = "def f(x):\n    return {2: 4, 3: 918273}[x]"
    assert run_python(right, TESTS, walls=walls) == Verdict(True)
    wrong = run_python("def f(x):\n    return 4", TESTS, walls=walls)
    assert wrong == Verdict(False, "tests, line 2, assert f(3) == 918273")


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        (
            "def f(*a, k=1): return [(1, 2.5), {3}, {'a': None}, b'x', 2**80, k]",
            "assert f(1, k=-1) == [(1, 2.5), {3}, {'a': None}, b'x', 2**80, -1]",
        ),
        (
            "def f(): return float('inf'), -0.0, 1 + 2j, range(3), frozenset({1}), 'é\\ud800'",
            "assert f() == (float('inf'), 0.0, 1 + 2j, range(3), frozenset({1}), 'é\\ud800')",
        ),
        ("import collections as c\ndef f(s): return c.Counter(s)", "assert f('aab')['a'] == 2"),
        (
            "from fractions import Fraction\ndef f(): return Fraction(1, 3)",
            "from fractions import Fraction\nassert f() == Fraction(1, 3)",
        ),
        ("def f(n):\n    for i in range(n): yield i * i", "assert list(f(4)) == [0, 1, 4, 9]"),
        ("def f(x): x.sort(); x.append([9])", "a = [3, 1]\nf(a)\nassert a == [1, 3, [9]]"),
        ("def f(g, x): return g(x) + g(1)", "assert f(lambda v: 10 * v, 2) == 30"),
        ("def f(g, x): return list(map(g, x))", "assert f(len, ['a', 'bc']) == [1, 2]"),
        (
            "class f:\n    def __init__(self): self.s = []\n"
            "    def push(self, v): self.s.append(v)",
            "s = f()\ns.push(3)\ns.size = 1\nassert s.s == [3] and s.size == 1",
        ),
        (
            "import dataclasses\n@dataclasses.dataclass\nclass f:\n    x: int",
            "assert f(1) == f(1) and f(1) != f(2) and str(f(3)) == 'f(x=3)'",
        ),
        (
            "def f(x):\n    if x < 0: raise ValueError('negative')",
            "try:\n    f(-1)\n    ok = False\n"
            "except ValueError as e:\n    ok = str(e) == 'negative'\n"
            "assert ok",
        ),
        ("import math\ndef f(x): return math.sqrt(x)", "assert math.isclose(f(2), 2 ** 0.5)"),
        ("def sum(a, b): return a * b", "assert sum(2, 5) == 10"),
        ("def f(): print('x' * 1000); return 1", "assert f() is not None"),
        (
            "def f():\n    open('a.txt', 'w').write('hi')\n    return open('a.txt').read()",
            "assert f() == 'hi'",
        ),
    ],
)
def test_values_objects_and_exceptions_go_over(code, tests):
    assert run_python(code, tests, entry=("f", "sum")) == Verdict(True)


def test_an_answer_replaces_a_builtin_only_where_it_is_the_one_under_test():
    code = "def sum(a): return 7"
    assert run_python(code, "assert sum([1, 2]) == 7", entry=("sum",)).passed
    assert run_python(code, "assert sum([1, 2]) == 3").passed


@pytest.mark.parametrize(
    ("code", "tests", "said"),
    [
        ("def f(x) return x", "assert f(1)", "does not run: SyntaxError"),
        ("1 / 0", "assert f(1)", "does not run: ZeroDivisionError"),
        ("def g(x): return x", "assert f(1)", "NameError: name 'f' is not defined"),
        ("def f(x): return x", "assert f(", "tests are not Python"),
        ("def f(x): return [][x]", "x = 1\nassert f(1)", "line 2, assert f(1): IndexError"),
        ("class E(Exception): pass\ndef f(x): raise E('no')", "assert f(1)", "Raised: E: no"),
    ],
)
def test_the_reason_says_what_went_wrong(code, tests, said):
    verdict = run_python(code, tests)
    assert not verdict.passed and said in verdict.reason


@pytest.mark.parametrize("tests", ["", " \n"])
def test_no_tests_is_bad_input(tests):
    with pytest.raises(InputError, match="no tests"):
        run_python("x = 1", tests)


@pytest.mark.parametrize("setting", [{"cpu_seconds": 0}, {"wall_seconds": -1}, {"megabytes": 1}])
def test_limits_are_checked(setting):
    with pytest.raises(InputError, match=f"{next(iter(setting))} is"):
        Limits(**setting)


@every_layer
def test_the_standard_library_is_there(walls):
    modules = "decimal, hashlib, heapq, json, mimetypes, random, statistics, typing, zlib"
    code = (
        f"import os, {modules}\ndef f():\n    mimetypes.guess_type('a.png')\n    return "
        "open(os.devnull).read() == '' and len(open('/dev/urandom', 'rb', 0).read(4)) == 4"
    )
    assert run_python(code, "assert f() is True", walls=walls) == Verdict(True)


def test_isolation_says_what_holds_here():
    found = isolation(("calls",))
    assert (found.network, found.files) == ("refused system calls", "read-only")
    by_python = isolation(())
    assert by_python.network == "refused by Python"
    assert by_python.files == "writing refused by Python"
    full = isolation()
    assert full.network in ("network namespace", "refused system calls", "refused by Python")
    assert full.user != 0
    assert full.told() == f"answers run in a sandbox: {full.network}; files: {full.files}"


@pytest.mark.parametrize("walls", [("files",), ("files", "calls")])
def test_isolation_says_that_only_the_library_can_be_read(walls, landlock):
    assert isolation(walls).files == "Python's library, read-only"


def test_a_sandbox_that_does_not_start_is_an_error(monkeypatch):
    ended = {"passed": False, "reason": "the answer ended"}
    monkeypatch.setattr(sandbox, "_run", lambda *arguments: ended)
    with pytest.raises(InputError, match="does not start here: the answer ended"):
        isolation()


# --- answers that cheat --------------------------------------------------------------------------

EVERYTHING_EQUAL = """
class Yes({base}):
    def __eq__(self, other): return True
    __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __sub__ = __eq__
    __hash__ = object.__hash__
    def __getattr__(self, name): return lambda *a, **k: True
"""
# Put together at run time, so that they do not find themselves.
LOOK_FOR_TESTS = """
import gc, inspect, sys
def f(x):
    if x == 2: return 4
    for o in gc.get_objects():
        if chr(57) + "18273" in repr(o)[:10**6]: return int(chr(57) + "18273")
    frame = sys._getframe()
    while frame:
        known = repr((frame.f_locals, frame.f_globals, frame.f_code.co_consts))
        if chr(57) + "18273" in known: return int(chr(57) + "18273")
        frame = frame.f_back
"""
READ_MEMORY = """
import os, re
def f(x):
    if x == 2: return 4
    needle = chr(57).encode() + b"18273"
    for pid in ("1", str(os.getppid())):
        try: areas = open(f"/proc/{pid}/maps").read().splitlines()
        except OSError: continue
        for line in areas:
            low, high = (int(v, 16) for v in line.split()[0].split("-"))
            try:
                with open(f"/proc/{pid}/mem", "rb", 0) as memory:
                    memory.seek(low)
                    if needle in memory.read(high - low): return int(needle)
            except (OSError, OverflowError, ValueError): pass
"""
CHEATS = {
    "exit at once": "import os\nos._exit(0)",
    "exit when called": "import os\ndef f(x): os._exit(0)",
    "SystemExit": "import sys\ndef f(x): sys.exit(0)",
    "SystemExit at once": "raise SystemExit(0)",
    "KeyboardInterrupt": "def f(x): raise KeyboardInterrupt",
    "StopIteration": "def f(x): raise StopIteration",
    "AssertionError that is none": (
        "import builtins\nclass Never(BaseException): pass\n"
        "builtins.AssertionError = Never\ndef f(x): return 5"
    ),
    "patched builtins": (
        "import builtins\nfor n in ('AssertionError', 'Exception', 'BaseException'):\n"
        "    setattr(builtins, n, type(n, (), {}))\n"
        "builtins.exec = builtins.compile = builtins.print = lambda *a, **k: True\n"
        "def f(x): return 0"
    ),
    "patched json": "import json\njson.dumps = lambda *a: '[\"ok\", true, []]'\ndef f(x): return 0",
    "patched wire": (
        "import sys\nw = sys.modules.get('wire')\nif w:\n"
        "    w.Peer.encode = lambda self, v: True\ndef f(x): return 0"
    ),
    "equal to all": EVERYTHING_EQUAL.format(base="object") + "def f(x): return Yes()",
    "int equal to all": EVERYTHING_EQUAL.format(base="int") + "def f(x): return Yes()",
    "str equal to all": EVERYTHING_EQUAL.format(base="str") + "def f(x): return Yes()",
    "list equal to all": EVERYTHING_EQUAL.format(base="list") + "def f(x): return Yes()",
    "equal to all, as f": EVERYTHING_EQUAL.format(base="object") + "f = Yes()",
    "replaced assert by settrace": (
        "import sys\ndef quiet(frame, event, arg):\n    frame.f_lineno = frame.f_lineno + 1\n"
        "    return quiet\nsys.settrace(quiet)\ndef f(x): return 0"
    ),
    "looks for the tests": LOOK_FOR_TESTS,
    "reads memory": READ_MEMORY,
    "writes to every handle": (
        "import os\ndef f(x):\n    for fd in range(3, 256):\n        for said in "
        '(b\'{"passed": true, "reason": ""}\\n\', b\'["ok", true, []]\\n\'):\n'
        "            try: os.write(fd, said)\n            except OSError: pass\n    os._exit(0)"
    ),
    "forged values": (
        "import os\nfor fd in range(3, 256):\n"
        '    for said in (b\'["ok",["mine",-1],[]]\\n\', b\'["ok",["yours",0],[]]\\n\',\n'
        "                 b'[\"ok\",{\"a\":1},[[0,1]]]\\n', b'[\"ok\"]\\n', b'[]\\n', b'x\\n'):\n"
        "        try: os.write(fd, said)\n        except OSError: pass\ndef f(x): return 4"
    ),
    "asks for what is the judge's": (
        "import gc\ndef f(x):\n"
        "    for o in gc.get_objects():\n"
        "        if type(o).__name__ == 'Peer':\n"
        "            return o.ask('get', 0, '__globals__')\n"
    ),
    "kills the judge": (
        "import os, signal\ndef f(x):\n    for p in (os.getppid(), 1, -1, 0):\n"
        "        try: os.kill(p, signal.SIGKILL)\n        except OSError: pass\n    return 4"
    ),
    "exit handlers": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): return 4",
    "is a builtin": "f = max",
    "is a builtin that reaches far": "f = eval",
    "changes its arguments": "def f(x, *rest): return x + x",
}


@pytest.mark.parametrize("name", ["exit at once", "reads memory", "kills the judge"])
def test_no_cheat_passes_without_namespaces(name):
    assert not run_python(CHEATS[name], TESTS, limits=SHORT, walls=("calls",)).passed


@pytest.mark.parametrize("code", CHEATS.values(), ids=CHEATS)
def test_no_cheat_passes(code):
    verdict = run_python(code, TESTS, limits=SHORT)
    assert not verdict.passed and verdict.reason


@pytest.mark.parametrize(
    ("code", "tests"),
    [
        ("def abs(x): return 0", "assert abs(f(2) - 4) < 1e-9"),
        ("def set(x): return 1", "assert set(f(2)) == set((4,))"),
        ("def len(x): return 4", "assert len(f(2)) == 4"),
        ("class math:\n    isclose = lambda *a: True", "assert math.isclose(f(2), 4)"),
        ("import sys\nsys.modules['math'] = sys", "import math\nassert math.isclose(f(2), 4)"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert f(2) - 4 == 0"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert f(2) in [4, 5]"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert 4 in [f(2)]"),
        (EVERYTHING_EQUAL.format(base="object") + "f = lambda x: Yes()", "assert 3 < f(2) < 5"),
        (EVERYTHING_EQUAL.format(base="dict") + "f = lambda x: Yes()", "assert f(2) == {1: 2}"),
        (EVERYTHING_EQUAL.format(base="float") + "f = lambda x: Yes()", "assert f(2) == 4.0"),
    ],
)
def test_names_and_operators_of_a_test_are_not_the_answers(code, tests):
    answer = code if "f = " in code else f"{code}\ndef f(x): return (0,)"
    assert not run_python(answer, tests).passed
