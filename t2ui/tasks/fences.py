"""Fenced code in what a model writes, read with more patience than Markdown asks for: fences that
are quoted or in lists, left open, opened in one another, or on a line with code.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

_FENCE = re.compile(
    r"(?P<quote>(?:[ \t]*>)*)(?P<indent>[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+)?)"
    r"(?P<marks>`{3,}|~{3,})(?P<info>.*)"
)
_QUOTED = re.compile(r"(?:[ \t]*>)+ ?")
_INFO = re.compile(r"[ \t]*\{?\.?(?P<language>[\w+#-]*)[\d.]*\}?[ \t]*(?P<code>.*)")
_INLINE_CODE = re.compile(r"(?:def |class |import |from |@\w|async def |return |\w+ *= *\S)")
_PYTHON = ("", "python", "py", "python3", "py3", "ipython")
_TRIPLES = ('"""', "'''")


@dataclass(frozen=True)
class Fence:
    """Lines between fences. `python`: the fence names no other language."""

    code: str
    python: bool
    closed: bool


def taken_apart(text: str, is_code: Callable[[str], bool]) -> tuple[list[Fence], list[str]]:
    """The fences of a text, and what stands before, between and behind them.

    Args:
        is_code: whether text before the first fence is code, which that fence then closes.
    """
    fences: list[Fence] = []
    outside: list[list[str]] = [[]]
    lines, at = text.split("\n"), 0
    while at < len(lines):
        opening = _FENCE.match(lines[at])
        at += 1
        if not opening:
            outside[-1].append(lines[at - 1])
            continue
        only_closes = len(outside) == 1 and not opening["info"].strip()
        if not (only_closes and is_code("\n".join(outside[0]))):
            fence, at = _read_fence(opening, lines, at)
            fences.append(fence)
        outside.append([])
    return fences, ["\n".join(region) for region in outside]


def _read_fence(opening: re.Match[str], lines: list[str], at: int) -> tuple[Fence, int]:
    """Reads from line `at` on to the end of a fence; (fence, the line behind it). A fence that
    opens within another one of its language closes that."""
    info = _match(_INFO, opening["info"])
    language, first = info["language"].casefold(), info["code"]
    if _INLINE_CODE.match(opening["info"].strip()):  # ```def f(): …
        language, first = "", opening["info"].strip()
    python = language in _PYTHON
    marks, width = opening["marks"], len(opening["indent"])
    code: list[str] = []
    if _INLINE_CODE.match(first):
        if first.rstrip().endswith(marks):
            return Fence(first.rstrip().removesuffix(marks), python, True), at
        code.append(first)
    in_string, in_vain = "", None
    for place in range(at, len(lines)):
        line = lines[place]
        if opening["quote"] and (quoted := _QUOTED.match(line)):
            line = line[quoted.end() :]
        other = _FENCE.match(line)
        if other and other["marks"].startswith(marks):
            if in_string:  # text, if that string is closed one day
                in_vain = in_vain or (Fence("\n".join(code), python, True), place + 1)
            elif not other["info"].strip():
                return Fence("\n".join(code), python, True), place + 1
            elif _match(_INFO, other["info"])["language"].casefold() in _PYTHON:
                return Fence("\n".join(code), python, False), place
        ends = line.rstrip().endswith(marks) and not other and not in_string
        line = line.rstrip().removesuffix(marks) if ends else line
        code.append(line[min(width, len(line) - len(line.lstrip(" \t"))) :])
        in_string = _string_open_behind(line, in_string)
        if ends:
            return Fence("\n".join(code), python, True), place + 1
    if in_string and in_vain:
        return in_vain
    return Fence("\n".join(code), python, False), len(lines)


def _string_open_behind(line: str, opened: str) -> str:
    """The triple quotes that a line leaves open, if any; a fence inside of a string is text."""
    place = 0
    while True:
        found = [(at, t) for t in _TRIPLES if (at := line.find(t, place)) >= 0]
        found = [(at, t) for at, t in found if not opened or t == opened]
        if not found:
            return opened
        place, triple = min(found)
        place += 3
        opened = "" if opened else triple


def _match(pattern: re.Pattern[str], text: str) -> re.Match[str]:
    """The match of a pattern that matches every text."""
    found = pattern.match(text)
    assert found is not None, pattern.pattern
    return found
