"""Values of either side as JSON, with numbers for the objects that stay where they are."""

import builtins
import collections
import importlib
import sys
import types

import raised
from raised import Mirror, describe
from stand_ins import Proxy, like, number_of, relayed, renew
from values import again, is_mutable, known_as, read, written

# Builtins that go over by their name; what could reach into the judge is not among them.
PURE = frozenset(
    "abs all any bin bool bytearray bytes chr complex dict divmod filter float format frozenset "
    "hex int isinstance issubclass iter len list map max min next oct ord pow range repr reversed "
    "round set slice sorted str sum tuple type zip".split()
)
# Functions that the tests may hand over.
CALLABLE = (types.FunctionType, types.MethodType, types.BuiltinFunctionType)


class Ended(BaseException):
    """The other side is gone, or does not keep to the protocol. No `except Exception` of a test
    takes it for something that the answer raised."""


class Said:
    """A value that is written already."""

    def __init__(self, said):
        self.said = said


class Objects:
    """What one side knows of its own objects and of the other's.

    Args:
        peer: that stand-ins ask, see `stand_ins`.
        open_to_all: whether the other side may know every object of this one: the answer's are
            open to the tests; of the tests' only what they hand over, functions and iterators.
    """

    def __init__(self, peer, open_to_all: bool):
        self.peer, self.open_to_all = peer, open_to_all
        self.own: list = []  # objects of this side that the other side knows by number
        self.numbers: dict[int, int] = {}  # id -> place in `own`, which keeps the object alive
        self.stand_ins: dict[int, object] = {}  # by the number on the other side
        self.relays: dict[int, int] = {}  # id of a generator here -> number of the one there
        self.likenesses: dict[type, type] = {}
        self.known: dict[type, str] = {}  # what `known_as` said

    # --- to JSON ---------------------------------------------------------------------------------

    def encode(self, value):
        """A value as JSON: scalars as they are, the rest as a list that begins with its kind."""
        kind = type(value)
        if value is None or kind is bool or kind is str or kind is float:
            return value
        if kind is Said:
            return value.said
        number = self.relays.get(id(value), number_of(value))
        if number is not None:
            return ["yours", number]
        if isinstance(value, type):
            return self.encode_type(value)
        if isinstance(value, BaseException):
            return self.encode_error(value)
        name = self.known.get(kind)
        if name is None:
            name = self.known[kind] = known_as(value)
        if name:
            return self.encode_known(value, name)
        called = getattr(value, "__name__", None)
        if called in PURE and getattr(builtins, called, self) is value:
            return ["builtin", called]
        if self.open_to_all:
            return ["g" if kind is types.GeneratorType else "mine", self.number(value)]
        return self.encode_handed_over(value)

    def encode_known(self, value, name: str):
        """A value of a type of `values`, or of a subclass, which may be more than that."""
        said = written(value, name, self.encode)
        kind = type(value)
        if f"{kind.__module__}.{kind.__qualname__}".replace("._local.", ".") == name:
            return said
        if self.open_to_all:
            return ["own", self.number(value), said]
        fields = getattr(kind, "_fields", None)
        return ["n", kind.__name__, list(fields), *said[1:]] if fields else said

    def encode_type(self, kind: type):
        if kind.__name__ in PURE and vars(builtins).get(kind.__name__) is kind:
            return ["builtin", kind.__name__]
        if type(kind) is Mirror and "_held" in vars(kind):
            return ["yours", kind._held[1]]
        if issubclass(kind, BaseException):
            name = raised.name_of(kind)
            if name:
                return ["e", name, raised.usual_base(kind)]
            bases = [self.encode_type(b) for b in kind.__bases__ if issubclass(b, BaseException)]
            return ["x", self.number(kind), kind.__name__, bases]
        return ["mine", self.number(kind)] if self.open_to_all else self.encode_handed_over(kind)

    def encode_handed_over(self, value):
        """What the tests may hand to the answer beside values."""
        module = getattr(value, "__module__", None)
        short = getattr(value, "__qualname__", None)
        if module in sys.stdlib_module_names and isinstance(short, str):
            if getattr(sys.modules.get(module), short, None) is value:
                return ["lib", module, short]  # it has the same one
        computes = module in ("functools", "operator") and not isinstance(value, type)
        if (isinstance(value, CALLABLE) and module != "builtins") or computes:
            return ["mine", self.number(value)]
        if hasattr(type(value), "__next__"):
            return ["mine", self.number(value)]
        raise TypeError(f"{type(value).__name__} cannot be handed to the answer under test")

    def encode_error(self, error: BaseException, depth: int = 0):
        """An exception; whatever is wrong with it, something is sent."""
        text = describe(error)
        try:
            kind = type(error)
            if type(kind) is Mirror and "_number" in vars(error):
                return ["yours", vars(error)["_number"]]
            said = self.encode_type(kind)
            number, attributes = None, []
            if said[0] == "x":
                error.__traceback__ = None  # it would keep whole frames
                number = self.number(error)
            else:
                attributes = [[k, self.encode(v)] for k, v in vars(error).items()]
            cause = error.__cause__
            because = self.encode_error(cause, depth + 1) if cause and depth < 3 else None
            args = self.encode_arguments(error, text)
            return ["X", said, text, args, number, attributes, because]
        except Exception:
            return ["X", ["e", "builtins.Exception", "Exception"], text, [text], None, [], None]

    def encode_arguments(self, error: BaseException, text: str) -> list:
        try:
            return [self.encode(argument) for argument in error.args]
        except TypeError:  # an object of the tests
            return [text]

    def number(self, value) -> int:
        """The number of an object of this side."""
        place = self.numbers.setdefault(id(value), len(self.own))
        if place == len(self.own):
            self.own.append(value)
        return place

    # --- from JSON -------------------------------------------------------------------------------

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
            return self.decoded(*said)
        except (TypeError, ValueError, LookupError, ArithmeticError, AttributeError):
            raise Ended("a value of no known kind") from None

    def decoded(self, kind, *said):
        if kind in ("mine", "own", "g", "x", "yours") and type(said[0]) is not int:
            raise ValueError(kind)
        if kind == "yours" and said[0] >= 0:
            return self.own[said[0]]
        if kind == "mine":
            return self.stand_in(said[0], lambda number: Proxy(self.peer, number))
        if kind == "own":
            return self.decode_own(said[0], self.decode(said[1]))
        if kind == "g":
            return self.stand_in(said[0], self.relay)
        if kind == "builtin" and said[0] in PURE:
            return vars(builtins)[said[0]]
        if kind == "e":
            return raised.known_class(*said)
        if kind == "x":
            number, name, bases = said
            kinds = tuple(map(self.decode, bases))
            return self.stand_in(
                number, lambda number: raised.mirrored(self.peer, number, name, kinds)
            )
        if kind == "X":
            return self.decode_error(*said)
        if self.open_to_all and kind == "lib":
            module, name = said
            return getattr(importlib.import_module(module), name)
        if self.open_to_all and kind == "n":
            name, fields, *values = said
            return collections.namedtuple(name, fields)(*map(self.decode, values))
        return read(kind, list(said), self.decode)

    def stand_in(self, number: int, make):
        """The one that stands for an object of the other side, which is the same every time."""
        if number not in self.stand_ins:
            self.stand_ins[number] = make(number)
        return self.stand_ins[number]

    def relay(self, number: int):
        generator = relayed(Proxy(self.peer, number))
        self.relays[id(generator)] = number
        return generator

    def decode_own(self, number: int, plain):
        """An object of a subclass of a plain value's type."""
        if number_of(plain) is not None or not known_as(plain):
            raise ValueError("no plain value")
        if is_mutable(plain):
            proxy = self.stand_in(number, lambda number: Proxy(self.peer, number))
            renew(proxy, plain)
            return proxy
        if number not in self.stand_ins:
            base = type(plain)
            kind = self.likenesses.setdefault(base, like(base))
            made = again(plain, kind)
            object.__setattr__(made, "_held", (self.peer, number))
            self.stand_ins[number] = made
        return self.stand_ins[number]

    def decode_error(self, kind, text, args, number, attributes, because) -> BaseException:
        if number in self.stand_ins:
            return self.stand_ins[number]
        given = {self.decode(k): self.decode(v) for k, v in attributes}
        error = raised.made(self.decode(kind), tuple(map(self.decode, args)), str(text), given)
        if because is not None:
            error.__cause__ = self.decode(because)
        if type(number) is int:
            vars(error)["_number"] = number
            self.stand_ins[number] = error
        return error
