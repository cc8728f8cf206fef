"""The Python in what a model writes: in one fence or several, in lists, quoted, cut short, or
between sentences.

A text is taken apart into blocks that parse: fenced ones, and runs of lines outside of fences. One
block answers; what it uses and does not define (imports, helpers) comes from the others. Nothing
is run here.
"""

import ast
import builtins
import re
import symtable
import textwrap
import warnings
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from t2ui.tasks.fences import Fence, taken_apart

ATTEMPTS = 40  # to cut a block's end off until it parses
PARSED = 1_000_000  # characters that these may cost the parser
MANY = 40  # fences, and texts between them, that are looked at
PLACES = 12  # lines outside of fences at which code is looked for
UNPARSABLE = (SyntaxError, ValueError, RecursionError, MemoryError)
_CODE_LINE = re.compile(
    r"^(?P<indent>[ \t]*)(?:def |class |import |from [\w.]+ import\b|@\w|async def |"
    r"\w+ *(?::[^=\n]{1,60})?=)",
    re.MULTILINE,
)
_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@dataclass(frozen=True)
class Block:
    """Code that parses. `whole`: nothing was cut off, and its fence is closed."""

    code: str
    tree: ast.Module
    python: bool = True
    whole: bool = True

    def answers(self, wanted: set[str]) -> int:
        """How it binds one of these names: 3 by defining it, 2 by assigning, 1 by importing it (as
        an example of its use does), 0 not at all."""
        binding = [n for n in self.tree.body if wanted.intersection(_bound(n))]
        return max(map(_how, binding), default=0)

    @property
    def defines(self) -> bool:
        return any(_how(node) == 3 for node in self.tree.body)


def code_in(text: str, entry: str = "", before: str = "", used: Collection[str] = ()) -> str:
    """The Python of a text, without what keeps it from parsing: an answer cut short, prose.

    That is the block which defines `entry`: the last one, but rather one that is whole and in no
    other language's fence. Where nothing defines it, the body of the function that was begun, or
    else the first block. Fences come before what stands outside of them.

    Args:
        entry: the function or class that is asked for; without it, whatever is in `used`.
        before: code that the text continues.
        used: names that the tests use.
    """
    text = text.replace("\r\n", "\n")
    fences, outside = taken_apart(text, lambda head: _is_code(head, before))
    fenced = [block for fence in fences[-MANY:] if (block := _fenced(fence))]
    loose = [block for region in outside[:MANY] for block in _runs(region)]
    wanted = {entry} if entry else set(used)
    for blocks in (fenced, loose):
        main = _last([block for block in blocks if block.answers(wanted)], wanted)
        if main:
            return "\n\n".join([*_needed(main.code, before, [*fenced, *loose], used), main.code])
    if before:
        for begun in (outside[0], *(fence.code for fence in fences[:MANY] if fence.python)):
            body = _body(begun, before)
            if body:
                needed = _needed(f"{before}\n{body}", "", [*fenced, *loose], used)
                return "\n\n".join([body, *needed])
    for blocks in (fenced, loose):
        main = _last([b for b in blocks if b.defines], wanted) or next(iter(blocks), None)
        if main:
            return main.code
    return fences[0].code if fences else text


def parsed(code: str) -> ast.Module:
    """Its syntax tree.

    Raises:
        SyntaxError, ValueError, RecursionError, MemoryError: as `ast.parse`.
    """
    with warnings.catch_warnings():  # of escapes in other people's strings
        warnings.simplefilter("ignore")
        return ast.parse(code)


def names_in(code: str) -> set[str]:
    """The names that a code uses or binds; none where it is no Python."""
    try:
        return {node.id for node in ast.walk(parsed(code)) if isinstance(node, ast.Name)}
    except UNPARSABLE:
        return set()


def _last(blocks: list[Block], wanted: set[str]) -> Block | None:
    """The last of those that are likeliest to be the answer."""
    likely = [(block.python, block.answers(wanted), block.whole) for block in blocks]
    best = max(likely, default=None)
    return next((b for b, how in zip(blocks[::-1], likely[::-1], strict=True) if how == best), None)


def _is_code(head: str, before: str) -> bool:
    """Whether a text's beginning is code: a definition, or the body of the one begun."""
    defines = any(block.defines for block in _runs(head))
    return defines or bool(before and head.strip() and _body(head, before))


def _fenced(fence: Fence) -> Block | None:
    for code in (fence.code, textwrap.dedent(fence.code)):
        kept, tree = _that_parses(code)
        if kept:
            whole = fence.closed and kept.count("\n") == code.rstrip().count("\n")
            return Block(kept, tree, fence.python, whole)
    return None


def _runs(region: str) -> Iterator[Block]:
    """Code between sentences: from each line that looks like code as far as it parses."""
    end = 0
    for place, line in enumerate(_CODE_LINE.finditer(region)):
        if place == PLACES:
            return
        if line.start() >= end:
            begun = region[line.start() :]
            margin = re.compile(rf"^[ \t]{{0,{len(line['indent'])}}}", re.MULTILINE)
            kept, tree = _that_parses(margin.sub("", begun) if line["indent"] else begun)
            if kept:
                lines = begun.split("\n")[: kept.count("\n") + 1]
                end = line.start() + len("\n".join(lines))
                yield Block(kept, tree)


def _that_parses(code: str, before: str = "") -> tuple[str, ast.Module]:
    """A code's first lines, as many as parse, behind `before`. No line where none does.

    A word alone on a line ("Done", "Output: 5") is Python, too, but would only fail: it is blanked.
    """
    code = code.rstrip()
    lines = code.split("\n")
    added = before.count("\n") + 1 if before else 0
    end = len(lines)
    for _ in range(min(ATTEMPTS, 2 + PARSED // (len(code) + 1))):
        kept = "\n".join(lines[:end])
        if not kept.strip():
            break
        try:
            tree = parsed(f"{before}\n{kept}" if before else kept)
            for node in filter(_is_word, tree.body):
                place = node.lineno - added - 1
                if place >= 0 and node.lineno == node.end_lineno and ";" not in lines[place]:
                    lines[place] = ""
            return "\n".join(lines[:end]), tree
        except SyntaxError as error:
            # No line from the one on that the parser stumbles over can be kept. (Before Python
            # 3.12 it counted the lines of f-strings from their own beginning.)
            line = None if "f-string" in (error.msg or "") else error.lineno
            stumbled = end if line is None else line - added
            end = max(min(end, stumbled) - 1, 0)
        except UNPARSABLE:
            end -= 1
    return "", ast.Module([], [])


def _is_word(node: ast.stmt) -> bool:
    return (isinstance(node, ast.Expr) and isinstance(node.value, ast.Name)) or (
        isinstance(node, ast.AnnAssign) and node.value is None
    )


def _body(code: str, before: str) -> str | None:
    """The code as the body of the function that `before` begins, which it may have lost the
    indentation of."""
    indents = re.findall(r"^[ \t]+", before, re.MULTILINE) or ["    "]
    code = code.strip("\n")
    for variant in (code, indents[-1] + code.lstrip(), textwrap.indent(code, indents[-1])):
        kept, tree = _that_parses(variant, before)
        if not kept or not variant[:1].isspace() or not tree.body:
            continue
        begun = next((n for n in reversed(tree.body) if isinstance(n, _DEFINITIONS)), None)
        # One word of prose is an expression, too.
        if begun is None or all(isinstance(n, ast.Expr) for n in begun.body):
            continue
        if variant is code or any(isinstance(n, ast.Return) for n in ast.walk(begun)):
            return kept
    return None


def _needed(code: str, before: str, blocks: Iterable[Block], used: Collection[str]) -> list[str]:
    """Imports, functions, classes and constants of other blocks that this code uses, in order."""
    statements = [(node, block) for block in blocks if block.python for node in block.tree.body]
    functions = {node.name for node, _ in statements if isinstance(node, _DEFINITIONS)}
    given = {
        name: place
        for place, (node, _) in enumerate(statements)
        if _is_harmless(node, functions)
        for name in _bound(node)
    }
    known = names_bound(f"{before}\n{code}" if before else code) | set(dir(builtins))
    asked = list(_globals_of(code) | set(used))
    taken: set[int] = set()
    while asked:
        name = asked.pop()
        if name in known:
            continue
        known.add(name)
        if name in given:
            taken.add(given[name])
            known |= set(_bound(statements[given[name]][0]))
            asked += _globals_of(_source(*statements[given[name]]))
        else:  # what is imported by a star may have it
            taken |= {place for place, (node, _) in enumerate(statements) if "*" in _bound(node)}
    return [_source(*statements[place]) for place in sorted(taken)]


def _source(node: ast.stmt, block: Block) -> str:
    """A statement's own lines."""
    first = min([node.lineno, *(d.lineno for d in getattr(node, "decorator_list", ()))])
    return "\n".join(block.code.split("\n")[first - 1 : node.end_lineno])


def _is_harmless(node: ast.stmt, functions: set[str]) -> bool:
    """Whether running it calls none of the functions and asks nobody for input: no example."""
    if isinstance(node, (ast.Assign, ast.AnnAssign)):
        called = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
        return not called & {*functions, "input", "open", "exit"}
    return isinstance(node, (ast.Import, ast.ImportFrom, *_DEFINITIONS))


def _how(node: ast.stmt) -> int:
    """How a statement binds names, as `Block.answers` counts."""
    if isinstance(node, _DEFINITIONS):
        return 3
    return 1 if isinstance(node, (ast.Import, ast.ImportFrom)) else 2


def _bound(node: ast.stmt) -> Iterator[str]:
    """The names that a statement binds."""
    if isinstance(node, _DEFINITIONS):
        yield node.name
    elif isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from (a.asname or a.name.partition(".")[0] for a in node.names)
    elif isinstance(node, (ast.Assign, ast.AnnAssign)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            yield from (n.id for n in ast.walk(target) if isinstance(n, ast.Name))


def names_bound(code: str) -> set[str]:
    """The names that a code defines; none where it is no Python."""
    try:
        return {name for node in parsed(code).body for name in _bound(node)}
    except UNPARSABLE:
        return set()


def _globals_of(code: str) -> set[str]:
    """Names that a code looks up outside of its functions."""
    try:
        tables = [symtable.symtable(code, "answer", "exec")]
    except UNPARSABLE:
        return set()
    found: set[str] = set()
    while tables:
        table = tables.pop()
        tables += table.get_children()
        at_top = table.get_type() == "module"
        found |= {
            s.get_name()
            for s in table.get_symbols()
            if s.is_referenced() and (at_top or s.is_global())
        }
    return found
