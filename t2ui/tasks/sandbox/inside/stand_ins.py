"""What stands for an object of the other side: its instances, iterators, functions and classes.

A stand-in asks the other side for everything, except where that would tell the answer under test
what is expected: it never equals or is ordered against a plain value, unless it is one, too. The
answer's own subclasses of built-in types are: they compare by what they held as such, which is
fixed once it has been sent (and asked for anew only after a call has changed it).
"""

import operator

COMPARISONS = ("eq", "lt", "le", "gt", "ge")
ARITHMETIC = (
    *("add", "sub", "mul", "truediv", "floordiv", "mod", "pow"),
    *("matmul", "and_", "or_", "xor"),
)
_ONE_SIDED = ("neg", "pos", "abs", "invert", "int", "float", "index", "round", "reversed", "hash")
# What may be asked of an object of the answer, beside calling it.
OPERATIONS = {
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "drop": operator.delitem,
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    "format": format,
    "isinstance": isinstance,
    "issubclass": issubclass,
    "enter": lambda context: type(context).__enter__(context),
    "send": lambda generator, value: generator.send(value),
    "throw": lambda generator, error: generator.throw(error),
    "leave": lambda context: type(context).__exit__(context, None, None, None),
    **{name: getattr(operator, name) for name in (*COMPARISONS, *ARITHMETIC)},
    **{name: getattr(operator, name) for name in ("neg", "pos", "abs", "invert", "index")},
    **{"int": int, "float": float, "round": round, "reversed": reversed, "hash": hash},
}
# What may be asked of an object of the tests that was handed over.
OF_THE_TESTS = {"iter": iter, "next": next, "hash": hash}
_SPECIAL = ("__name__", "__qualname__", "__doc__", "__dict__", "__members__")


class Proxy:
    """An object of the other side.

    `_plain`: for one that is also a list, dict or the like, its contents as such.
    """

    __slots__ = ("_peer", "_number", "_plain", "_calls")

    def __init__(self, peer, number: int, plain=None):
        for name, value in (("_peer", peer), ("_number", number), ("_plain", plain)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "_calls", peer.calls)

    @property
    def __class__(self):
        plain = object.__getattribute__(self, "_plain")
        return Proxy if plain is None else type(plain)

    def __call__(self, *args, **named):
        return self._peer.call(self, args, named)

    def __getattr__(self, name):
        if name.startswith("__") and name not in _SPECIAL:
            raise AttributeError(name)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name, value):
        self._peer.calls += 1
        self._peer.ask("set", self, name, value)

    def __getitem__(self, key):
        return self._peer.ask("item", self, key)

    def __setitem__(self, key, value):
        self._peer.calls += 1
        self._peer.ask("put", self, key, value)

    def __delitem__(self, key):
        self._peer.calls += 1
        self._peer.ask("drop", self, key)

    def __iter__(self):
        return self._peer.ask("iter", self)

    def __next__(self):
        return self._peer.ask("next", self)

    def __len__(self):
        return self._peer.ask("len", self)

    def __bool__(self):
        return bool(self._peer.ask("bool", self))

    def __str__(self):
        return self._peer.ask("str", self)

    def __repr__(self):
        return self._peer.ask("repr", self)

    def __format__(self, form):
        return self._peer.ask("format", self, form)

    def __instancecheck__(self, value):
        return self._peer.asks_about(value, "isinstance", self)

    def __subclasscheck__(self, kind):
        return self._peer.asks_about(kind, "issubclass", self)

    def __enter__(self):
        self._peer.calls += 1
        return self._peer.ask("enter", self)

    def __exit__(self, *raised):
        self._peer.calls += 1
        self._peer.ask("leave", self)  # what was raised stays so: it may be a test that failed


def renew(proxy, plain) -> None:
    """What a proxy is as a plain value, as it has just been sent."""
    object.__setattr__(proxy, "_plain", plain)
    object.__setattr__(proxy, "_calls", proxy._peer.calls)


def contents(proxy):
    """The plain value that a proxy is, too; None where it is none."""
    if proxy._plain is not None and proxy._calls != proxy._peer.calls:
        renew(proxy, proxy._peer.ask("plain", proxy))
    return proxy._plain


class Likeness:
    """A number, text, tuple or the like that the answer made a subclass of: its value is here, and
    what its class adds (an enumeration's `name`, a named tuple's fields, methods) is asked for."""

    __slots__ = ()

    def __getattr__(self, name):
        special = name.startswith("__") and name not in _SPECIAL
        if special or name == "_held" or hasattr(type(self), name):
            raise AttributeError(name)
        return self._held[0].ask("get", self, name)

    def __setattr__(self, name, value):
        if hasattr(type(self), name):
            object.__setattr__(self, name, value)
        else:
            self._held[0].ask("set", self, name, value)

    def __str__(self):
        return self._held[0].ask("str", self)

    def __repr__(self):
        return self._held[0].ask("repr", self)

    def __copy__(self):
        return self

    def __deepcopy__(self, memo):
        return self


def number_of(value) -> int | None:
    """The number that the other side knows an object of its own by; None for what is of here."""
    if type(value) is Proxy:
        return value._number
    return value._held[1] if isinstance(value, Likeness) else None


def like(base: type) -> type:
    """A type for likenesses of this type's values."""
    return type(
        base.__name__, (Likeness, base), {_dunder(n): _on_values(n, base) for n in ARITHMETIC}
    )


def _dunder(name: str) -> str:
    return f"__{name.strip('_')}__"


def _on_values(name: str, base: type):
    def operation(self, other):
        if number_of(other) is not None:
            return self._held[0].ask(name, self, other)
        usual = getattr(base, _dunder(name), None)
        return NotImplemented if usual is None else usual(self, other)

    return operation


def _between(name: str):
    def operation(self, other):
        if number_of(other) is not None:
            return self._peer.ask(name, self, other)
        # Never with a plain value: the answer would learn what is expected, and say what it likes.
        plain = contents(self)
        return NotImplemented if plain is None else getattr(operator, name)(plain, other)

    return operation


def _reflected(name: str):
    def operation(self, other):
        plain = contents(self)
        return NotImplemented if plain is None else getattr(operator, name)(other, plain)

    return operation


def _alone(name: str):
    return lambda self, *more: self._peer.ask(name, self, *more)


for _name in (*COMPARISONS, *ARITHMETIC):
    setattr(Proxy, _dunder(_name), _between(_name))
for _name in ARITHMETIC:
    setattr(Proxy, f"__r{_name.strip('_')}__", _reflected(_name))
for _name in _ONE_SIDED:
    setattr(Proxy, f"__{_name}__", _alone(_name))


def relayed(proxy: Proxy):
    """A generator here for one on the other side. It is not closed there: it goes with the run."""
    request: tuple = ("next",)
    while True:
        try:
            value = proxy._peer.ask(request[0], proxy, *request[1:])
        except StopIteration as end:
            return end.value
        try:
            sent = yield value
            request = ("next",) if sent is None else ("send", sent)
        except Exception as error:
            request = ("throw", error)
