"""Right answers of every kind pass: values of built-in and standard types go over as they are."""

import layers
import pytest

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


def test_they_pass_without_namespaces():
    code, tests = RIGHT["dates"]
    assert run_python(code, tests, walls=("calls",)) == Verdict(True)
