"""Plain values as JSON, and back: numbers, texts, containers, and what the standard library has of
the kind (dates, decimals, fractions, arrays).

A value is written by its built-in or standard type alone, whatever a subclass makes of its methods,
and read as such. Standard modules are imported where one of their values comes along; only those
named here.
"""

import collections
import importlib
import types

MUTABLE = (list, dict, set, bytearray, collections.deque)


def _offset(moment):
    """A time zone as a fixed offset from UTC; other kinds are more than a value."""
    apart = moment.utcoffset()
    if apart is None:
        return None
    from datetime import timezone

    return timezone(apart, moment.tzname())


def _clock(value):
    return value.hour, value.minute, value.second, value.microsecond, _offset(value)


# Type -> what makes one: arguments that are plain values again.
STANDARD = {
    "builtins.complex": lambda v: (v.real, v.imag),
    "builtins.range": lambda v: (v.start, v.stop, v.step),
    "builtins.slice": lambda v: (v.start, v.stop, v.step),
    "array.array": lambda v: (v.typecode, v.tolist()),
    "collections.ChainMap": lambda v: tuple(v.maps),
    "collections.deque": lambda v: (list(collections.deque.__iter__(v)), v.maxlen),
    "datetime.date": lambda v: (v.year, v.month, v.day),
    "datetime.datetime": lambda v: (v.year, v.month, v.day, *_clock(v)),
    "datetime.time": _clock,
    "datetime.timedelta": lambda v: (v.days, v.seconds, v.microseconds),
    "datetime.timezone": lambda v: (v.utcoffset(None), v.tzname(None)),
    "decimal.Decimal": lambda v: (str(v),),
    "fractions.Fraction": lambda v: (v.numerator, v.denominator),
    "ipaddress.IPv4Address": lambda v: (str(v),),
    "ipaddress.IPv6Address": lambda v: (str(v),),
    "ipaddress.IPv4Network": lambda v: (str(v),),
    "ipaddress.IPv6Network": lambda v: (str(v),),
    "pathlib.PurePosixPath": lambda v: (str(v),),
    "uuid.UUID": lambda v: (str(v),),
}
# Types with an own form, by the name of that form.
_ITEMS = {
    "builtins.list": ("l", list.__iter__),
    "builtins.tuple": ("t", tuple.__iter__),
    "builtins.set": ("s", set.__iter__),
    "builtins.frozenset": ("f", frozenset.__iter__),
    "builtins.dict_keys": ("k", iter),
}
_PAIRS = {
    "builtins.dict": ("d", dict.items),
    "builtins.dict_items": ("v", iter),
    "builtins.mappingproxy": ("m", lambda v: v.items()),
    "collections.Counter": ("C", dict.items),
    "collections.OrderedDict": ("O", collections.OrderedDict.items),
}
_MADE = {
    **{"l": list, "t": tuple, "s": set, "f": frozenset, "d": dict},
    **{"k": lambda v: dict.fromkeys(v).keys(), "v": lambda v: dict(v).items()},
    **{"m": lambda v: types.MappingProxyType(dict(v)), "C": lambda v: collections.Counter(dict(v))},
    "O": collections.OrderedDict,
}
_PAIR_KINDS = frozenset(kind for kind, _ in _PAIRS.values())
_BYTES = {
    "builtins.bytes": ("b", bytes.hex),
    "builtins.bytearray": ("B", bytearray.hex),
    "builtins.memoryview": ("b", memoryview.hex),
}
_SCALARS = {
    "builtins.float": float.__pos__,
    "builtins.str": str.__str__,
    "builtins.NoneType": lambda v: v,
    "builtins.bool": lambda v: v,
}
_SINGLE = {"builtins.ellipsis": ..., "builtins.NotImplementedType": NotImplemented}
_KNOWN = frozenset(
    ("builtins.int", "collections.defaultdict")
    + (*STANDARD, *_ITEMS, *_PAIRS, *_BYTES, *_SCALARS, *_SINGLE)
)


def known_as(value) -> str:
    """The name of the first of its types that has a form here, or ""."""
    for one in type(value).__mro__:
        name = f"{one.__module__}.{one.__qualname__}".replace("._local.", ".")
        if name in _KNOWN:
            return name
    return ""


def written(value, name: str, encode):
    """A value as one of the type that `known_as` gives."""
    if name == "builtins.int":
        value = int.__add__(value, 0)
        return value if abs(value) < 2**53 else ["i", hex(value)]
    if name in _SCALARS:
        return _SCALARS[name](value)
    if name in _ITEMS:
        kind, each = _ITEMS[name]
        return [kind, *map(encode, each(value))]
    if name in _PAIRS:
        kind, each = _PAIRS[name]
        return [kind, *([encode(k), encode(v)] for k, v in each(value))]
    if name == "collections.defaultdict":
        pairs = ([encode(k), encode(v)] for k, v in dict.items(value))
        return ["D", encode(value.default_factory), *pairs]
    if name in _BYTES:
        kind, as_hex = _BYTES[name]
        return [kind, as_hex(value)]
    if name in _SINGLE:
        return ["1", name]
    return ["std", name, *map(encode, STANDARD[name](value))]


def read(kind: str, said: list, decode):
    """The value that was written.

    Raises:
        TypeError, ValueError, KeyError, IndexError, ArithmeticError: nothing of this form was.
    """
    if kind == "i":
        return int(said[0], 16)
    if kind in _PAIR_KINDS:
        return _MADE[kind]([(decode(k), decode(v)) for k, v in said])
    if kind in _MADE:
        return _MADE[kind]([decode(v) for v in said])
    if kind == "D":
        factory, *pairs = said
        return collections.defaultdict(decode(factory), [(decode(k), decode(v)) for k, v in pairs])
    if kind in ("b", "B"):
        return bytes.fromhex(said[0]) if kind == "b" else bytearray.fromhex(said[0])
    if kind == "1":
        return _SINGLE[said[0]]
    if kind == "std":
        return standard(said[0])(*map(decode, said[1:]))
    raise ValueError(kind)


def standard(name: str) -> type:
    """One of the types of `STANDARD`."""
    if name not in STANDARD:
        raise ValueError(name)
    module, _, kind = name.rpartition(".")
    return getattr(importlib.import_module(module), kind)


def again(value, kind: type):
    """A plain value as one of a subclass."""
    name = known_as(value)
    arguments = STANDARD[name](value) if name in STANDARD else (value,)
    return kind(*arguments)


def is_mutable(value) -> bool:
    return isinstance(value, MUTABLE) or known_as(value) == "array.array"


def replace(old, new) -> None:
    """Give a container the contents of another of its type."""
    if type(old) is not type(new) or old is new or not is_mutable(old):
        return
    if hasattr(old, "clear"):
        old.clear()
    else:  # an array
        del old[:]
    old.extend(new) if hasattr(old, "extend") else old.update(new)
