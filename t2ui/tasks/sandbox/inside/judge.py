"""Runs the tests, in a process of its own that the answer under test cannot reach.

The answer runs elsewhere and only sends values (`wire`), so nothing that it does to its own
interpreter, to builtins, to modules or to frames touches a test, and it never sees one.
"""

import ast
import builtins
import importlib
import sys

from objects import Ended
from raised import Raised
from wire import Peer

WHERE = "<tests>"


def judged(peer: Peer, code: str, tests: str, entry: list[str]) -> tuple[bool, str]:
    """(whether every line of the tests ran and every assert held, why not)."""
    try:
        tree = ast.parse(tests, WHERE)
        compiled = compile(tree, WHERE, "exec", optimize=0)
    except (SyntaxError, ValueError, RecursionError) as error:
        return False, f"the tests are not Python: {error}"
    try:
        peer.ask("define", code)
    except Ended:
        raise
    except BaseException as error:
        return False, f"the answer does not run: {type(error).__name__}: {error}"[:300]
    try:
        exec(compiled, namespace(peer, tree, entry))
        peer.ask("wall")  # a test that catches everything may have caught the answer's end
    except Ended:
        raise
    except BaseException as error:  # SystemExit in a test is not a pass
        return False, reason(error, tests)
    return True, ""


def namespace(peer: Peer, tree: ast.AST, entry: list[str]) -> dict:
    """What the tests see: builtins and the standard library of this process, and the answer's own
    names. The answer replaces a builtin or a module only where `entry` names it."""
    names = {"__name__": "tests"}
    for name in sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}):
        if name not in entry and hasattr(builtins, name):
            continue
        if name not in entry and name in sys.stdlib_module_names:
            names[name] = importlib.import_module(name)
            continue
        try:
            names[name] = peer.ask("name", name)
        except NameError:
            continue  # the tests define it themselves, or will fail on it
    return names


def reason(error: BaseException, tests: str) -> str:
    """Which line of the tests failed, and with what."""
    lines = tests.splitlines()
    number, frame = 0, error.__traceback__
    while frame is not None:
        if frame.tb_frame.f_code.co_filename == WHERE:
            number = frame.tb_lineno
        frame = frame.tb_next
    line = lines[number - 1].strip() if number and number <= len(lines) else ""
    of_the_answer = "Raised: " if isinstance(error, Raised) else ""
    said = f": {of_the_answer}{type(error).__name__}: {error}"
    said = "" if isinstance(error, AssertionError) and not of_the_answer else said
    return f"tests, line {number}, {line[:200]}{said}"[:500]
