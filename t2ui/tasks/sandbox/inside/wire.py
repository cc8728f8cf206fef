"""Values and calls between the judge and the answer under test, as lines of JSON over two pipes.

What arrives is only ever read as plain values of built-in types: nothing is unpickled and no class
of the other side exists here, so an answer cannot hand over an object with a forged `__eq__`.
Everything else (an instance, an iterator, a function) stays where it is and is stood for by a
`Proxy`, on which calls, attributes and iteration are sent over. A proxy never equals a plain value.
"""

import builtins
import collections
import json
import operator
import types

MAX_LINE = 16_000_000  # characters of one message; a longer one ends the run
COMPARED = ("eq", "lt", "le", "gt", "ge", "add", "sub", "mul", "truediv")
OPERATIONS = {
    "get": getattr,
    "set": setattr,
    "item": operator.getitem,
    "put": operator.setitem,
    "iter": iter,
    "next": next,
    "len": len,
    "bool": bool,
    "str": str,
    "repr": repr,
    **{name: getattr(operator, name) for name in COMPARED},
}
# Builtins that go over by their name; what could reach into the judge is not among them.
PURE = frozenset(
    "abs all any bin bool bytearray bytes chr complex dict divmod filter float format frozenset "
    "hex int isinstance issubclass iter len list map max min next oct ord pow range repr reversed "
    "round set slice sorted str sum tuple type zip".split()
)
MUTABLE = (list, dict, set, bytearray, collections.deque)


class Ended(Exception):
    """The other side is gone, or does not keep to the protocol."""


class Raised(Exception):
    """The other side raised something that is no built-in exception."""


class Peer:
    """One end. `ask` sends a request and serves the other side's requests until its answer comes.

    Args:
        operations: what the other side may do with objects of this side, beside calling them.
        asked: requests by name that concern no object.
    """

    def __init__(self, reader, writer, operations=(), asked=()):
        self.reader, self.writer = reader, writer
        self.operations, self.asked = dict(operations), dict(asked)
        self.own: list = []  # objects of this side that the other side knows by number
        self.numbers: dict[int, int] = {}  # id -> place in `own`, which keeps the object alive
        self.proxies: dict[int, Proxy] = {}

    def ask(self, request: str, *values):
        self.send("ask", request, [self.encode(v) for v in values])
        return self.decode(self.answer()[0])

    def call(self, function: "Proxy", args: tuple, named: dict):
        """Call a function of the other side; what it changed in the arguments is changed here."""
        sent = [self.encode(v) for v in args]
        self.send("ask", "call", [self.encode(function), ["t", *sent], self.encode(named)])
        result, changed = self.answer()
        for place, value in changed:
            if type(place) is int and 0 <= place < len(args):
                replace(args[place], self.decode(value))
        return self.decode(result)

    def answer(self) -> list:
        while True:
            kind, *rest = self.receive()
            if kind == "ok":
                return rest
            if kind == "raise":
                raise exception(*rest)
            if kind != "ask":
                raise Ended("an answer that is none")
            self.serve(*rest)

    def serve(self, request, values) -> None:
        """Answer one request of the other side."""
        try:
            changed: list = []
            if request == "call":
                result = self.perform_call(values, changed)
            elif request in self.asked:
                result = self.asked[request](*map(self.decode, values))
            elif request in self.operations:
                result = self.operations[request](*map(self.decode, values))
            else:
                raise PermissionError(f"{request} is not for the other side")
            said = ["ok", self.encode(result), changed]
            text = json.dumps(said)
        except Ended:
            raise
        except BaseException as error:  # an answer may raise SystemExit too
            text = json.dumps(["raise", type(error).__name__, describe(error)])
        self.write(text)

    def perform_call(self, values, changed: list):
        function, sent, named = values
        args = [self.decode(v) for v in sent[1:]]
        result = self.decode(function)(*args, **self.decode(named))
        for place, (before, value) in enumerate(zip(sent[1:], args, strict=True)):
            if isinstance(value, MUTABLE) and (after := self.encode(value)) != before:
                changed.append([place, after])
        return result

    def serve_all(self) -> None:
        """Until the other side is gone."""
        while True:
            try:
                kind, *rest = self.receive()
            except Ended:
                return
            if kind == "ask":
                self.serve(*rest)

    def send(self, *message) -> None:
        self.write(json.dumps(message))

    def write(self, text: str) -> None:
        try:
            self.writer.write(text + "\n")
            self.writer.flush()
        except OSError:
            raise Ended("the other side is gone") from None

    def receive(self) -> list:
        line = self.reader.readline(MAX_LINE)
        if not line.endswith("\n"):
            raise Ended("too long a message" if line else "the other side is gone")
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            raise Ended("a message that is no JSON") from None
        if not isinstance(message, list) or not message:
            raise Ended("a message of no known kind")
        return message

    def encode(self, value):
        """A value as JSON: scalars as they are, the rest as a list that begins with its kind."""
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            value = int.__add__(value, 0)
            return value if abs(value) < 2**53 else ["i", hex(value)]
        if isinstance(value, float):
            return float.__pos__(value)
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, Proxy):
            return ["yours", object.__getattribute__(value, "_number")]
        for kind, known in (("l", list), ("t", tuple), ("s", set), ("f", frozenset)):
            if isinstance(value, known):
                return [kind, *(self.encode(v) for v in known.__iter__(value))]
        if isinstance(value, dict):
            named = {"Counter": "C", "OrderedDict": "O"}
            pairs = [[self.encode(k), self.encode(v)] for k, v in value.items()]
            return [named.get(type(value).__name__, "d"), *pairs]
        if isinstance(value, collections.deque):
            return ["q", *map(self.encode, value)]
        if isinstance(value, (bytes, bytearray)):
            return ["b" if isinstance(value, bytes) else "B", value.hex()]
        if isinstance(value, complex):
            return ["c", value.real, value.imag]
        if isinstance(value, range):
            return ["r", *map(self.encode, (value.start, value.stop, value.step))]
        if isinstance(value, type({}.keys())):
            return ["k", *map(self.encode, value)]
        if type(value).__name__ in ("Fraction", "Decimal"):
            return [type(value).__name__, str(value)]
        name = getattr(value, "__name__", None)
        if name in PURE and getattr(builtins, name, self) is value:
            return ["builtin", name]
        if self.operations or isinstance(value, types.FunctionType):
            return ["mine", self.number(value)]
        raise TypeError(f"{type(value).__name__} cannot be handed to the answer under test")

    def number(self, value) -> int:
        """The number of an object of this side."""
        place = self.numbers.setdefault(id(value), len(self.own))
        if place == len(self.own):
            self.own.append(value)
        return place

    def decode(self, said):
        """The value that was encoded.

        Raises:
            Ended: what the other side sent is not of this form.
        """
        if not isinstance(said, list):
            if isinstance(said, dict):
                raise Ended("a value of no known kind")
            return said
        try:
            return self._decoded(*said)
        except (TypeError, ValueError, KeyError, IndexError, ArithmeticError, OverflowError):
            raise Ended("a value of no known kind") from None

    def _decoded(self, kind, *said):
        if kind in ("l", "t", "s", "f", "q", "k"):
            values = [self.decode(v) for v in said]
            if kind == "k":
                return dict.fromkeys(values).keys()
            made = {"l": list, "t": tuple, "s": set, "f": frozenset, "q": collections.deque}
            return made[kind](values)
        if kind in ("d", "C", "O"):
            made = {"d": dict, "C": collections.Counter, "O": collections.OrderedDict}
            return made[kind]({self.decode(k): self.decode(v) for k, v in said})
        (first, *rest) = said
        if kind == "i":
            return int(first, 16)
        if kind in ("b", "B"):
            return bytes.fromhex(first) if kind == "b" else bytearray.fromhex(first)
        if kind == "c":
            return complex(float(first), float(rest[0]))
        if kind == "r":
            return range(*map(self.decode, said))
        if kind == "Fraction":
            from fractions import Fraction

            return Fraction(str(first))
        if kind == "Decimal":
            from decimal import Decimal

            return Decimal(str(first))
        if kind == "builtin" and first in PURE:
            return vars(builtins)[first]
        if kind == "yours" and type(first) is int and first >= 0:
            return self.own[first]
        if kind == "mine" and type(first) is int:
            return self.proxies.setdefault(first, Proxy(self, first))
        raise ValueError(kind)


class Proxy:
    """An object of the other side."""

    __slots__ = ("_peer", "_number")

    def __init__(self, peer: Peer, number: int):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def __call__(self, *args, **named):
        return self._peer.call(self, args, named)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("get", self, name)

    def __setattr__(self, name, value):
        self._peer.ask("set", self, name, value)

    def __getitem__(self, key):
        return self._peer.ask("item", self, key)

    def __setitem__(self, key, value):
        self._peer.ask("put", self, key, value)

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

    def __hash__(self):
        return hash(self._number)


def _between_proxies(name: str):
    def operation(self, other):
        # Never with a plain value: the answer would learn what is expected, and say what it likes.
        if not isinstance(other, Proxy):
            return NotImplemented
        return self._peer.ask(name, self, other)

    return operation


for _name in COMPARED:
    setattr(Proxy, f"__{_name}__", _between_proxies(_name))


def replace(old, new) -> None:
    """Give a container the contents of another of its type."""
    if type(old) is not type(new) or not isinstance(old, MUTABLE):
        return
    old.clear()
    old.extend(new) if hasattr(old, "extend") else old.update(new)


def exception(name, text) -> Exception:
    """What the other side raised, as an exception of this side."""
    known = vars(builtins).get(name) if isinstance(name, str) else None
    if isinstance(known, type) and issubclass(known, Exception):
        try:
            return known(str(text))
        except TypeError:  # UnicodeDecodeError and its like want more than a text
            return Raised(f"{name}: {text}")
    return Raised(f"{name}: {text}")


def describe(error: BaseException) -> str:
    """Its text, however the class was tampered with."""
    try:
        return str(error)[:300]
    except BaseException:
        return ""
