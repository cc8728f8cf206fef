"""Values and calls between the judge and the answer under test, as lines of JSON over two pipes.

What arrives is only ever read as plain values of built-in and standard types (`values`): nothing
is unpickled and no class of the other side exists here, so an answer cannot hand over an object
with a forged `__eq__`. Everything else (an instance, an iterator, a function) stays where it is and
is stood for (`stand_ins`, `raised`): calls, attributes and iteration are sent over.
"""

import json

import raised
from objects import Ended, Objects, Said
from stand_ins import number_of
from values import is_mutable, known_as, replace, written

MAX_LINE = 16_000_000  # characters of one message; a longer one ends the run
# Where StopIteration is an answer: elsewhere a loop of the tests would take it for its own end.
MAY_STOP = ("next", "send", "throw")


class Peer:
    """One end. `ask` sends a request and serves the other side's requests until its answer comes.

    Args:
        operations: what the other side may do with objects of this side, beside calling them.
        asked: requests by name that concern no object.
        open_to_all: see `Objects`.
    """

    def __init__(self, reader, writer, operations=(), asked=(), open_to_all=False):
        self.reader, self.writer = reader, writer
        self.operations, self.asked = dict(operations), dict(asked)
        self.objects = Objects(self, open_to_all)
        self.encode, self.decode = self.objects.encode, self.objects.decode
        self.calls = 0  # of the other side, which may have changed its objects

    def ask(self, request: str, *values):
        self.send("ask", request, [self.encode(v) for v in values])
        return self.decode(self.answer(request in MAY_STOP)[0])

    def asks_about(self, value, request: str, kind) -> bool:
        """What the other side says of an object of its own; a plain value is nothing of its."""
        its_own = number_of(value) is not None or isinstance(value, raised.Raised)
        return its_own and bool(self.ask(request, value, kind))

    def call(self, function, args: tuple, named: dict):
        """Call a function of the other side; what it changed in the arguments is changed here."""
        self.calls += 1
        sent = [self.encode(v) for v in args]
        self.send("ask", "call", [self.encode(function), ["t", *sent], self.encode(named)])
        result, changed = self.answer()
        for place, value in changed:
            if type(place) is int and 0 <= place < len(args):
                replace(args[place], self.decode(value))
        return self.decode(result)

    def answer(self, may_stop: bool = False) -> list:
        while True:
            kind, *rest = self.receive()
            if kind == "ok":
                return rest
            if kind == "raise":
                raise raised.as_sent(self.decode(rest[0]), may_stop)
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
            elif request == "plain" and self.objects.open_to_all:
                value = self.decode(values[0])
                result = Said(written(value, known_as(value), self.encode))
            elif request in self.operations:
                result = self.operations[request](*map(self.decode, values))
            else:
                raise PermissionError(f"{request} is not for the other side")
            said = ["ok", self.encode(result), changed]
            text = json.dumps(said)
        except Ended:
            raise
        except BaseException as error:  # an answer may raise SystemExit too
            text = json.dumps(["raise", self.objects.encode_error(error)])
        self.write(text)

    def perform_call(self, values, changed: list):
        function, sent, named = values
        args = [self.decode(v) for v in sent[1:]]
        result = self.decode(function)(*args, **self.decode(named))
        for place, (before, value) in enumerate(zip(sent[1:], args, strict=True)):
            if number_of(value) is None and is_mutable(value):
                after = self.encode(value)
                if after != before:
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
