"""A generator by the name that people type, and a few of its rows as texts."""

import time

from t2ui.errors import InputError
from t2ui.generators.process import Generator
from t2ui.generators.stream import Row, Stream
from t2ui.generators.wording import asked

FAMILY = "rg:"
STYLES = ("chat", "question")  # with a line on the answer's form, or without


def named(name: str) -> Generator:
    """The generator that "rg:chain_sum:max_terms=3" names.

    Raises:
        InputError: the package, the generator or a setting is not there.
    """
    kind, *typed = name.removeprefix(FAMILY).split(":")
    return Generator(kind, typed)


def sample_rows(name: str, count: int, seconds: float) -> list[tuple[str, str]]:
    """(prompt, right answer) of the first validation rows: those that no training reads, and no
    evaluation.

    Args:
        seconds: that it may take.

    Raises:
        InputError: what `named` raises, it takes longer, or there are no right answers.
    """
    generator, until = named(name), time.monotonic() + seconds
    stream, rows = Stream(generator), list[Row]()
    while len(rows) < count:
        if time.monotonic() > until:
            raise InputError(
                f"{generator.name} made {len(rows)} rows in {seconds:.0f} s: ask for fewer, or "
                "choose easier settings."
            )
        more = stream.part("validation", len(rows) + 1)
        if len(more) == len(rows):
            break  # it has no more
        rows = more
    found = [
        (asked(generator.kind, row.question, "chat", None), row.answer)
        for row in rows
        if row.answer is not None
    ]
    if not found:
        raise InputError(f"{generator.name} has no rows with a right answer: choose another.")
    return found
