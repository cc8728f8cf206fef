"""Right answers with classes of their own: their objects compare and act as these say."""

import layers
import pytest

from t2ui.tasks.sandbox.run import Verdict, run_python

pytestmark = layers.needs_linux

# name -> (answer, tests)
RIGHT = {
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
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers_pass(name):
    code, tests = RIGHT[name]
    assert run_python(code, tests) == Verdict(True)


def test_they_pass_without_namespaces():
    code, tests = RIGHT["a list of its own kind"]
    assert run_python(code, tests, walls=("calls",)) == Verdict(True)
