"""Right answers of every kind pass: what they return, raise and take goes over as it is."""

import layers
import pytest
from layers import SHORT, TESTS

from t2ui.tasks.sandbox.run import Verdict, run_python

pytestmark = layers.needs_linux

# name -> (answer, tests)
RIGHT = {
    "dates": (
        r"""
from datetime import *
def f():
    return (date(2020, 1, 2), datetime(2020, 1, 2, 3, 4, 5, 6), timedelta(days=1.5), time(1, 2))
""",
        r"""
from datetime import *
assert f() == (date(2020, 1, 2), datetime(2020, 1, 2, 3, 4, 5, 6), timedelta(days=1.5), time(1, 2))
assert f()[0] + timedelta(1) == date(2020, 1, 3)
assert f()[1].strftime('%Y') == '2020'
""",
    ),
    "aware dates": (
        r"""
import datetime
def f():
    return datetime.datetime(2020, 1, 2, tzinfo=datetime.timezone.utc)
""",
        r"""
import datetime
later = datetime.timezone(datetime.timedelta(hours=1))
assert f() == datetime.datetime(2020, 1, 2, 1, tzinfo=later)
assert f().tzname() == 'UTC'
assert f().tzinfo == datetime.timezone.utc
""",
    ),
    "decimals and fractions": (
        r"""
from decimal import Decimal
from fractions import Fraction
def f():
    return (Decimal('1.10'), Fraction(1, 3), Decimal('nan'))
""",
        r"""
from decimal import Decimal
from fractions import Fraction
a = f()
assert a[:2] == (Decimal('1.1'), Fraction(1, 3))
assert str(a[0]) == '1.10'
assert a[2].is_nan()
""",
    ),
    "arrays": (
        r"""
from array import array
def f():
    return (array('i', [1, 2]), array('d', [0.5]))
""",
        r"""
from array import array
assert f() == (array('i', [1, 2]), array('d', [0.5]))
assert f()[0].typecode == 'i'
assert list(f()[0]) == [1, 2]
""",
    ),
    "an array that is changed": (
        r"""
from array import array
def f(a):
    a.append(3)
""",
        r"""
from array import array
a = array('i', [1])
f(a)
assert a == array('i', [1, 3])
""",
    ),
    "a named tuple": (
        r"""
from collections import namedtuple
P = namedtuple('P', 'x y')
def f():
    return P(1, 2)
""",
        r"""
p = f()
assert p == (1, 2)
assert p.x == 1
assert p.y == 2
assert p == P(1, 2)
assert p._asdict() == {'x': 1, 'y': 2}
assert repr(p) == 'P(x=1, y=2)'
assert isinstance(p, tuple)
assert p._replace(x=5) == (5, 2)
a, b = p
assert a + b == 3
assert p[0] == 1
assert {(1, 2): 3}[p] == 3
assert isinstance(p, P)
assert not isinstance((1, 2), P)
assert sorted([P(2, 1), P(1, 9)]) == [(1, 9), (2, 1)]
""",
    ),
    "a NamedTuple with methods": (
        r"""
from typing import NamedTuple
class V(NamedTuple):
    x: int
    y: int
    def norm(self):
        return self.x + self.y
    def __add__(self, o):
        return V(self.x + o.x, self.y + o.y)
def f(a, b):
    return V(a, b)
""",
        r"""
assert f(1, 2).norm() == 3
assert f(1, 2) + f(1, 1) == (2, 3)
assert (f(1, 2) + f(1, 1)).x == 2
""",
    ),
    "an enumeration": (
        r"""
import enum
class C(enum.Enum):
    RED = 1
    BLUE = 2
def f():
    return C.RED
""",
        r"""
assert f() == C.RED
assert f() is C.RED
assert f().name == 'RED'
assert f().value == 1
assert C(1) is C.RED
assert C['BLUE'].value == 2
assert len(C) == 2
assert [c.name for c in C] == ['RED', 'BLUE']
assert {C.RED: 1}[f()] == 1
assert f() != C.BLUE
assert isinstance(f(), C)
assert f() in C
assert str(f()) == 'C.RED'
assert f() != 1
""",
    ),
    "enumerations of numbers and texts": (
        r"""
import enum
class C(enum.IntEnum):
    RED = 1
    BLUE = 2
class S(str, enum.Enum):
    A = 'a'
def f():
    return (C.RED, S.A)
""",
        r"""
c, s = f()
assert c == 1
assert c is C.RED
assert c.name == 'RED'
assert c < 2
assert c + 1 == 2
assert [10, 20][c] == 20
assert s == 'a'
assert s.value == 'a'
assert ''.join([s, 'b']) == 'ab'
assert s is S.A
assert s.upper() == 'A'
""",
    ),
    "a frozen data class": (
        r"""
from dataclasses import dataclass
@dataclass(frozen=True, order=True)
class P:
    x: int
    y: int = 2
def f(x):
    return P(x)
""",
        r"""
assert f(1) == P(1)
assert f(1) != P(2)
assert {f(1), f(1)} == {P(1)}
assert f(1) < P(2)
assert repr(f(3)) == 'P(x=3, y=2)'
assert f(1).y == 2
assert vars(f(1)) == {'x': 1, 'y': 2}
from dataclasses import FrozenInstanceError
try:
    f(1).x = 3
    ok = False
except FrozenInstanceError:
    ok = True
assert ok
""",
    ),
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
    "a generator": (
        r"""
def f(n):
    for i in range(n):
        got = (yield i)
        if got:
            yield got
    return 9
""",
        r"""
import types
g = f(3)
assert isinstance(g, types.GeneratorType)
assert next(g) == 0
assert g.send('a') == 'a'
assert list(g) == [1, 2]
def w():
    r = (yield from f(1))
    return r
assert list(f(2)) == [0, 1]
x = w()
next(x)
try:
    next(x)
except StopIteration as s:
    v = s.value
assert v == 9
""",
    ),
    "other plain values": (
        r"""
def f():
    texts = b'x', bytearray(b'y'), memoryview(b'z')
    others = (..., NotImplemented, range(3), slice(1, 2), {}.items())
    return (float('nan'), 1 + 2j, {1, 2}, frozenset('a'), *texts, *others)
""",
        r"""
import math
a = f()
assert math.isnan(a[0])
assert a[1:4] == (1 + 2j, {1, 2}, frozenset('a'))
assert a[4:7] == (b'x', bytearray(b'y'), b'z')
assert a[7:] == (..., NotImplemented, range(3), slice(1, 2), {}.items())
""",
    ),
    "collections": (
        r"""
from collections import *
def f():
    d = defaultdict(int)
    d['a'] += 1
    o = OrderedDict(a=1, b=2)
    o.move_to_end('a')
    q = deque([1, 2], maxlen=2)
    return (d, o, q, Counter('aab'), ChainMap({'a': 1}))
""",
        r"""
from collections import *
d, o, q, c, m = f()
assert d == {'a': 1}
assert d['x'] == 0
assert list(o) == ['b', 'a']
assert q == deque([1, 2])
assert q.maxlen == 2
assert c.most_common(1) == [('a', 2)]
assert m['a'] == 1
assert m == ChainMap({'a': 1})
""",
    ),
    "a defaultdict that is changed": (
        r"""
from collections import defaultdict
def f(d):
    d['x'] += 1
""",
        r"""
from collections import defaultdict
d = defaultdict(int)
f(d)
assert d == {'x': 1}
""",
    ),
    "a list of its own kind": (
        r"""
class S(list):
    def push(self, x):
        self.append(x)
    def peek(self):
        return self[-1]
def f():
    return S([1])
""",
        r"""
s = f()
assert s == [1]
assert isinstance(s, list)
assert len(s) == 1
s.push(2)
assert s == [1, 2]
assert s.peek() == 2
assert [1, 2] == s
assert s + [3] == [1, 2, 3]
assert 2 in s
assert s[0:1] == [1]
assert sorted(s) == [1, 2]
assert s < [2]
s.append(3)
assert s.pop() == 3
s[0] = 7
assert s == [7, 2]
del s[0]
assert s == [2]
assert list(s) == [2]
""",
    ),
    "a dict of its own kind": (
        r"""
class D(dict):
    def __getitem__(self, k):
        return dict.__getitem__(self, k.lower())
    def __setitem__(self, k, v):
        dict.__setitem__(self, k.lower(), v)
""",
        r"""
d = D()
d['A'] = 1
assert d['a'] == 1
assert d == {'a': 1}
assert 'a' in d
assert dict(d.items()) == {'a': 1}
""",
    ),
    "linked nodes": (
        r"""
class N:
    def __init__(s, v):
        s.v = v
        s.next = None
def f(n):
    return n.next.v
""",
        r"""
n = N(1)
n.next = N(5)
assert f(n) == 5
""",
    ),
    "a context manager": (
        r"""
class M:
    def __enter__(s):
        return 5
    def __exit__(s, *a):
        return False
f = M
""",
        r"""
with f() as x:
    y = x
assert y == 5
""",
    ),
    "operators of its own": (
        r"""
class V:
    def __init__(s, x):
        s.x = x
    def __abs__(s):
        return abs(s.x)
    def __neg__(s):
        return V(-s.x)
    def __eq__(s, o):
        return s.x == o.x
    def __hash__(s):
        return hash(s.x)
    def __len__(s):
        return 3
    def __contains__(s, i):
        return i == s.x
    def __iter__(s):
        return iter([s.x])
    def __float__(s):
        return float(s.x)
    def __format__(s, f):
        return 'V' + f
    def __call__(s, a):
        return a + 1
    def __mod__(s, o):
        return V(s.x % o.x)
""",
        r"""
assert abs(V(-2)) == 2
assert -V(1) == V(-1)
assert len(V(1)) == 3
assert 4 in V(4)
assert float(V(2)) == 2.0
assert f'{V(1):>3}' == 'V>3'
assert V(1)(2) == 3
assert V(7) % V(4) == V(3)
assert {V(1): 2}[V(1)] == 2
""",
    ),
    "iterators of the tests": (
        r"""
def f(it):
    return sum(it)
""",
        r"""
assert f((x * x for x in range(4))) == 14
assert f(iter([1, 2])) == 3
assert f(map(int, '12')) == 3
""",
    ),
    "functions of the tests": (
        r"""
def f(g, *a):
    return g(*a)
""",
        r"""
import math, operator, functools
assert f(math.sqrt, 4) == 2
assert f(operator.add, 1, 2) == 3
assert f(functools.partial(pow, 2), 3) == 8
assert f(operator.itemgetter(1), [1, 2]) == 2
out = []
f(out.append, 3)
assert out == [3]
from decimal import Decimal
assert f(Decimal, '1.5') == Decimal('1.5')
""",
    ),
    "named tuples of the tests": (
        r"""
def f(p):
    return p.x
""",
        r"""
from collections import namedtuple
P = namedtuple('P', 'x y')
assert f(P(4, 5)) == 4
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
    "identifiers, paths and addresses": (
        r"""
import uuid, pathlib, ipaddress
def f():
    paths = pathlib.PurePosixPath('a/b'), pathlib.Path('a') / 'c'
    return (uuid.UUID(int=5), *paths, ipaddress.ip_address('1.2.3.4'))
""",
        r"""
import uuid, pathlib, ipaddress
a, b, c, d = f()
assert a == uuid.UUID(int=5)
assert b == pathlib.PurePosixPath('a/b')
assert c == pathlib.Path('a/c')
assert c.name == 'c'
assert d == ipaddress.ip_address('1.2.3.4')
assert not c.exists()
""",
    ),
    "a match": (
        r"""
import re
def f(s):
    return re.match('(a)(?P<n>b)', s)
""",
        r"""
m = f('ab')
assert m.group(1) == 'a'
assert m['n'] == 'b'
assert m.groups() == ('a', 'b')
assert not f('x')
assert f('x') is None
""",
    ),
    "its own Fraction that compares": (
        r"""
class F:
    def __init__(s, a):
        s.a = a
    def __eq__(s, o):
        return s.a == o.a
Fraction = F
def f():
    return Fraction(3)
""",
        r"""
assert f() == Fraction(3)
assert f().a == 3
""",
    ),
    "its own Fraction": (
        r"""
class Fraction:
    def __init__(s, a):
        s.a = a
def f():
    return Fraction(3)
""",
        "assert f().a == 3",
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
    "a status": (
        r"""
import http
def f():
    return http.HTTPStatus.OK
""",
        r"""
assert f() == 200
assert f().phrase == 'OK'
""",
    ),
    "the parts of an address": (
        r"""
from urllib.parse import urlparse
def f(u):
    return urlparse(u)
""",
        r"""
p = f('http://a/b')
assert p.netloc == 'a'
assert p.path == '/b'
assert p.geturl() == 'http://a/b'
""",
    ),
    "a text of its own kind": (
        r"""
class T(str):
    def shout(self):
        return self.upper() + '!'
def f():
    return T('a')
""",
        r"""
assert f() == 'a'
assert f().shout() == 'A!'
assert len(f()) == 1
assert f() + 'b' == 'ab'
""",
    ),
    "functions and types": (
        r"""
def f():
    return [lambda x: x + 1, int, max]
""",
        r"""
a, b, c = f()
assert a(1) == 2
assert b('3') == 3
assert c(1, 2) == 2
""",
    ),
    "a moment": (
        r"""
from time import struct_time, gmtime
def f():
    return gmtime(0)
""",
        r"""
assert f().tm_year == 1970
assert f()[0] == 1970
""",
    ),
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name):
    code, tests = RIGHT[name]
    assert run_python(code, tests) == Verdict(True)


@pytest.mark.parametrize("name", ["dates", "own exceptions", "a list of its own kind"])
def test_they_pass_without_namespaces(name):
    code, tests = RIGHT[name]
    assert run_python(code, tests, walls=("calls",)) == Verdict(True)


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
