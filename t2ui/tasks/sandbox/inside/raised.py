"""Exceptions from one side to the other. What the tests catch by name must be a class here.

Built-in exceptions and those of the standard library are the same ones on both sides. For a class
of the other side's own a class is made here with the same name and bases; its instances have the
text and arguments of theirs, and ask for what else is wanted of them.
"""

import builtins
import sys

MAX_TEXT = 10_000  # characters
# Modules whose exceptions go over; not those that make a test skipped instead of failed.
_SHARED = {*sys.stdlib_module_names, "builtins"} - {"unittest", "doctest", "_pytest"}


class Raised(BaseException):
    """Something that the other side raised of its own class."""


class Mirror(type):
    """The class of such classes. What one has beside its name is asked for; called, it makes an
    instance on the other side."""

    def __getattr__(cls, name):
        if name.startswith("__"):
            raise AttributeError(name)
        peer, _ = cls._held
        return peer.ask("get", cls, name)

    def __call__(cls, *args, **named):
        if "_held" not in vars(cls):  # a subclass that the tests made
            return super().__call__(*args, **named)
        return cls._held[0].call(cls, args, named)


def _ask(self, name):
    number = vars(self).get("_number")
    if name.startswith("__") or number is None:
        raise AttributeError(name)
    return type(self)._held[0].ask("get", self, name)


def mirrored(peer, number: int, name: str, bases: tuple) -> type:
    """The class that stands for an exception class of the other side.

    Raises:
        TypeError, ValueError: there can be no such class.
    """
    if not name.isidentifier() or not all(issubclass(base, BaseException) for base in bases):
        raise ValueError(name)
    own = [base for base in bases if type(base) is Mirror]
    plain = [base for base in bases if type(base) is not Mirror]
    within = {
        "_held": (peer, number),
        "__module__": "answer",
        "__getattr__": _ask,
        "__str__": lambda self: vars(self).get("_text") or BaseException.__str__(self),
    }
    return Mirror(name, (*own, *(() if own else (Raised,)), *plain), within)


def name_of(kind: type) -> str:
    """The full name of a built-in or standard exception; "" of others."""
    module = getattr(kind, "__module__", None)
    known = isinstance(module, str) and module.partition(".")[0] in _SHARED
    return f"{module}.{kind.__qualname__}" if known else ""


def usual_base(kind: type) -> str:
    """The name of the first of its bases that is built in."""
    return next(b.__name__ for b in kind.__mro__ if vars(builtins).get(b.__name__) is b)


def known_class(name: str, base: str) -> type:
    """A built-in or standard exception class. One of a module that is not loaded here, which
    therefore no test can name, is a new class of its built-in base.

    Raises:
        ValueError: there is none.
    """
    module, _, short = name.rpartition(".")
    found = vars(sys.modules.get(module, builtins)).get(short)
    if module.partition(".")[0] not in _SHARED:
        raise ValueError(name)
    if isinstance(found, type) and issubclass(found, BaseException) and name_of(found) == name:
        return found
    known = vars(builtins).get(base)
    if not short.isidentifier() or not issubclass(known, BaseException):
        raise ValueError(name)
    return type(short, (known,), {"__module__": module})


def made(kind: type, args: tuple, text: str, attributes: dict) -> BaseException:
    """An exception as the other side has it.

    Raises:
        TypeError, ValueError: this class makes no such exception.
    """
    if type(kind) is Mirror:
        error = kind.__new__(kind, *args)
        error.args = args
        vars(error)["_text"] = text
        return error
    try:
        error = kind(*args)
    except Exception:  # its arguments are not what it is made from
        error = kind.__new__(kind, *args)
        error.args = args
    added = {k: v for k, v in attributes.items() if str.isidentifier(k) and k[0] != "_"}
    vars(error).update({k: v for k, v in added.items() if not hasattr(BaseException, k)})
    return error


def as_sent(error: object, may_stop: bool) -> BaseException:
    """What to raise for an exception that the other side sent.

    Args:
        may_stop: whether StopIteration is meant for the loop that asked.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(error, BaseException):
        raise TypeError("what was raised is no exception")
    if isinstance(error, StopIteration) and not may_stop:
        return type("StopIteration", (Raised, Exception), {})(*error.args)
    return error


def describe(error: BaseException) -> str:
    """Its text, however the class was tampered with."""
    try:
        return str(error)[:MAX_TEXT]
    except BaseException:
        return ""
