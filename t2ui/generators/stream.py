"""A generator's rows, divided into train, validation and test.

A row has an index, and its seed follows from that. Which part it falls to, its prompt's hash says,
and nothing else: no prompt is in two parts, however many rows are asked for, in which order, and
with which settings. In a part every prompt stands once.
"""

import hashlib
from typing import NamedTuple

from t2ui.errors import InputError
from t2ui.generators.process import Generator

SHARES = {"test": 25, "validation": 10, "train": 65}  # percent of all prompts
# So many rows in a row without a new prompt for the part: the generator has no more.
STALE = 500
FAILED = 25  # so many in a row that could not be made: the settings do not go together


class Row(NamedTuple):
    """One that was made."""

    number: int  # its index
    question: str
    answer: str | None  # None: there is only a scorer


def same_prompt(prompt: str) -> str:
    """A prompt without differences in white space: two that are the same in it are one."""
    return " ".join(prompt.split())


def part_of(question: str) -> str:
    """The part that a prompt falls to."""
    digest = hashlib.sha256(same_prompt(question).encode()).digest()
    place = int.from_bytes(digest[:8], "big") % 100
    for part, share in SHARES.items():
        if place < share:
            return part
        place -= share
    raise AssertionError("the shares sum to 100")


class Stream:
    """The rows of a generator in the order of their indices, made when they are asked for."""

    def __init__(self, generator: Generator):
        self.generator = generator
        self._parts: dict[str, list[Row]] = {part: [] for part in SHARES}
        self._asked: set[str] = set()  # questions so far
        self._next = 0
        self._failed = 0

    def first(self, count: int) -> list[Row]:
        """The first rows of all parts together, at most so many."""
        while self._next < count:
            self._make()
        found = sorted(row for rows in self._parts.values() for row in rows)
        return found[:count]

    def part(self, part: str, count: int) -> list[Row]:
        """The first rows of a part: so many, or fewer where the generator has no more."""
        rows, since = self._parts[part], 0
        while len(rows) < count and since < STALE:
            before = len(rows)
            self._make()
            since = 0 if len(rows) > before else since + 1
        return rows[:count]

    def _make(self) -> None:
        """One more row, for whichever part it falls to."""
        index, self._next = self._next, self._next + 1
        made = self.generator.row(index)
        if isinstance(made, str):
            self._failed += 1
            if self._failed == FAILED:
                raise InputError(
                    f"{self.generator.name} makes no rows with these settings ({made[:120]}): "
                    "choose others."
                )
            return
        self._failed = 0
        key = same_prompt(made.question)
        if key not in self._asked:
            self._asked.add(key)
            self._parts[part_of(made.question)].append(Row(index, made.question, made.answer))
