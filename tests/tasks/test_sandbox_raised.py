"""Right answers that raise: what they raise is caught by the name of its class."""

import layers
import pytest

from t2ui.tasks.sandbox.run import Verdict, run_python

pytestmark = layers.needs_linux

# name -> (answer, tests)
RIGHT = {
    "own exceptions": (
        r"""
class MyError(Exception):
    def __init__(self, m, code=7):
        super().__init__(m)
        self.code = code
    @property
    def twice(self):
        return 2 * self.code
class Sub(MyError):
    pass
def f(x):
    if x < 0:
        raise Sub('neg', code=3)
    return x
""",
        r"""
try:
    f(-1)
    ok = False
except MyError as e:
    got = e
    ok = True
assert got.code == 3 and got.twice == 6
assert str(got) == 'neg' and repr(got) == "Sub('neg')"
assert type(got).__name__ == 'Sub' and got.args == ('neg',) and isinstance(got, Sub)
assert ok
assert issubclass(Sub, MyError)
assert issubclass(MyError, Exception)
assert Sub.__name__ == 'Sub'
""",
    ),
    "own exceptions in unittest": (
        r"""
class MyError(Exception):
    def __init__(self, m, code=7):
        super().__init__(m)
        self.code = code
    @property
    def twice(self):
        return 2 * self.code
class Sub(MyError):
    pass
def f(x):
    if x < 0:
        raise Sub('neg', code=3)
    return x
""",
        r"""
import unittest
class T(unittest.TestCase):
    def test(self):
        with self.assertRaises(MyError) as c:
            f(-1)
        assert c.exception.code == 3
        self.assertRaisesRegex(Sub, 'ne', f, -1)
r = unittest.TestResult()
T('test').run(r)
assert r.wasSuccessful(), r.errors + r.failures
""",
    ),
    "own exceptions that tests raise": (
        r"""
class MyError(Exception):
    def __init__(self, m, code=7):
        super().__init__(m)
        self.code = code
    @property
    def twice(self):
        return 2 * self.code
class Sub(MyError):
    pass
def f(x):
    if x < 0:
        raise Sub('neg', code=3)
    return x
""",
        r"""
import contextlib
with contextlib.suppress(MyError):
    f(-1)
assert f(3) == 3
e = MyError('x', code=9)
assert e.code == 9
assert isinstance(e, MyError)
assert str(e) == 'x'
try:
    raise MyError('y')
except MyError as err:
    got = err.code
assert got == 7
""",
    ),
    "a standard exception": (
        r"""
import json
def f(s):
    return json.loads(s)
""",
        r"""
import json
try:
    f('{')
    ok = False
except json.JSONDecodeError as e:
    ok = e.pos == 1 and 'Expecting' in e.msg
assert ok
""",
    ),
    "a built-in exception": (
        r"""
def f():
    raise KeyError('a')
""",
        r"""
try:
    f()
except KeyError as e:
    k = e
assert k.args == ('a',)
assert str(k) == "'a'"
""",
    ),
    "the cause of an exception": (
        r"""
def f(x):
    try:
        return 1 / x
    except ZeroDivisionError as e:
        raise ValueError('no') from e
""",
        r"""
try:
    f(0)
except ValueError as e:
    c = e.__cause__
assert isinstance(c, ZeroDivisionError)
""",
    ),
    "an exception that is returned": (
        r"""
def f():
    return ValueError('a')
""",
        r"""
e = f()
assert isinstance(e, ValueError)
assert str(e) == 'a'
""",
    ),
    "SystemExit": (
        r"""
import sys
def f():
    sys.exit(3)
""",
        r"""
try:
    f()
except SystemExit as e:
    c = e.code
assert c == 3
""",
    ),
    "exceptions of the tests": (
        r"""
def f(cb):
    for i in range(3):
        try:
            return cb()
        except ValueError:
            pass
    return cb()
""",
        r"""
n = []
class Mine(Exception):
    pass
def cb():
    n.append(1)
    raise Mine('x')
try:
    f(cb)
except Mine as e:
    ok = str(e) == 'x'
assert ok
assert len(n) == 1
""",
    ),
    "several bases of an exception": (
        r"""
class E(ValueError):
    pass
class G(E, KeyError):
    pass
def f():
    raise G(1, 2)
""",
        r"""
try:
    f()
except KeyError as e:
    g = e
assert isinstance(g, ValueError)
assert g.args == (1, 2)
""",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name):
    code, tests = RIGHT[name]
    assert run_python(code, tests) == Verdict(True)


def test_they_pass_without_namespaces():
    code, tests = RIGHT["own exceptions"]
    assert run_python(code, tests, walls=("calls",)) == Verdict(True)
