"""Options that a prompt lists behind its question, "A) ice". Texts only."""

import re
from typing import NamedTuple

LETTERS = "ABCDEFGH"
LEAST, MOST = 2, len(LETTERS)
_LINE = re.compile(r"\s*(?:\(([A-H])\)|([A-H])[).:])\s+(\S.*)")


class Listed(NamedTuple):
    """A question and the options' texts, in the order of their letters."""

    question: str
    options: tuple[str, ...]


def listed_options(prompt: str) -> Listed | None:
    """The question and its options, where a prompt ends in a list of them: one a line, lettered
    from A on without a gap. None where it does not, or where two options are the same."""
    lines = prompt.rstrip().split("\n")
    found: list[re.Match[str]] = []
    while len(found) < min(MOST, len(lines)) and (line := _LINE.fullmatch(lines[-1 - len(found)])):
        found.insert(0, line)
    letters = "".join(one[1] or one[2] for one in found)
    first = letters.rfind("A")  # a list further up is a part of the question
    options = tuple(one[3].strip() for one in found[first:])
    question = "\n".join(lines[: len(lines) - len(options)]).strip()
    fits = first >= 0 and letters[first:] == LETTERS[: len(options)]
    if not fits or not question or len(set(options)) < len(options) or len(options) < LEAST:
        return None
    return Listed(question, options)
