"""Options that a prompt lists behind its question, "A) ice", or in it, "… : ice or iron?". Texts
only."""

import re
from typing import NamedTuple

LETTERS = "ABCDEFGH"
LEAST, MOST = 2, len(LETTERS)
_LINE = re.compile(r"\s*(?:\(([A-H])\)|([A-H])[).:])\s+(\S.*)")
_ASKS = re.compile(r"\b(?:what|which|who|whom|whose|where|when|why|how)\b", re.IGNORECASE)
MOST_WORDS = 6  # of an option behind a colon: longer ones are rather sentences


class Listed(NamedTuple):
    """A question and the options' texts, in the order of their letters."""

    question: str
    options: tuple[str, ...]


def listed_options(prompt: str) -> Listed | None:
    """The question and its options, where a prompt ends in a list of them: one a line, lettered
    from A on without a gap, or all behind a question and a colon, "Which melts: ice, wax or iron?".
    None where it does not, or where two options are the same."""
    found = _lettered(prompt) or _behind_a_colon(prompt)
    if found is None:
        return None
    question, options = found
    several = LEAST <= len(options) <= MOST and len(set(options)) == len(options)
    return found if question and all(options) and several else None


def _lettered(prompt: str) -> Listed | None:
    lines = prompt.rstrip().split("\n")
    found: list[re.Match[str]] = []
    while len(found) < min(MOST, len(lines)) and (line := _LINE.fullmatch(lines[-1 - len(found)])):
        found.insert(0, line)
    letters = "".join(one[1] or one[2] for one in found)
    first = letters.rfind("A")  # a list further up is a part of the question
    if first < 0 or letters[first:] != LETTERS[: len(letters) - first]:
        return None
    options = tuple(one[3].strip() for one in found[first:])
    return Listed("\n".join(lines[: len(lines) - len(options)]).strip(), options)


def _behind_a_colon(prompt: str) -> Listed | None:
    before, _, behind = prompt.strip().rpartition(": ")
    asked = re.split(r"[.!?\n]", before)[-1]
    if not _ASKS.search(asked) or behind.find("?") != len(behind) - 1:
        return None
    parts = " ".join(behind[:-1].split()).split(" or ")
    if len(parts) != 2:
        return None
    others = re.split(r",(?!\d)", parts[0].removesuffix(","))
    options = tuple(option.strip() for option in (*others, parts[1]))
    if any(len(option.split()) > MOST_WORDS for option in options):
        return None
    return Listed(f"{before.rstrip()}?", options)
