"""Variants of a word problem with other numbers: the same story and calculation, other sums.

A small model picks up the form and the operation from a few hundred problems, but not sums that it
sees once; variants of training problems give it more of them. Only training rows are varied.
"""

import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction

from t2ui.errors import InputError

NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w%])")
TRIES = 60  # draws before a problem is given up: some calculations have few natural numbers

Steps = Callable[[str, str], tuple[list[str], Fraction]]  # (equation, where) -> (lines, result)


def variants(
    question: str, equation: str, steps: Steps, count: int, seed: str
) -> Iterator[tuple[str, list[str], Fraction]]:
    """Up to `count` times (question, worked lines, result) with other numbers.

    Numbers keep their kind: whole numbers stay whole with at most as many digits, decimals keep
    their places. A variant is kept if every line's result is positive, and whole where all the
    original's were. Nothing is yielded for a problem whose equation uses a number that stands in
    the question in no digits ("twice", "a dozen"), or two numbers that are equal.
    """
    written = {_value(text): text for text in NUMBER.findall(question)}
    used = [_value(text) for text in re.findall(r"\d+(?:\.\d+)?", equation.split("=", 1)[-1])]
    if len(set(used)) != len(used) or not set(used) <= set(written):
        return
    varied = [value for value in used if value > 1]  # "1 apple" would not read well with a 7
    whole = _all_whole(steps(equation, "original")[0])
    chance = random.Random(seed)
    seen = {question}
    for _ in range(TRIES * count):
        if len(seen) > count:
            return
        new = {value: _like(written[value], chance) for value in varied}
        asked = _replaced(question, new)
        if len(set(new.values())) < len(new) or asked in seen:
            continue
        try:
            lines, result = steps(_replaced(equation, new), "variant")
        except InputError:  # a division by zero
            continue
        if any(_result(line) <= 0 for line in lines) or (whole and not _all_whole(lines)):
            continue
        seen.add(asked)
        yield asked, lines, result


def _value(text: str) -> Fraction:
    return Fraction(text.replace(",", ""))


def _like(text: str, chance: random.Random) -> str:
    """A number written like this one: "12" -> "7", "1,250" -> "3,018", "3.42" -> "1.75"."""
    whole, _, places = text.replace(",", "").partition(".")
    value = chance.randint(2, 10 ** chance.randint(1, len(whole)) - 1)
    written = f"{value:,}" if "," in text else str(value)
    return (
        f"{written}.{chance.randint(1, 10 ** len(places) - 1):0{len(places)}d}"
        if places
        else written
    )


def _replaced(text: str, new: dict[Fraction, str]) -> str:
    def number(match: re.Match) -> str:
        return new.get(_value(match[0]), match[0])

    if text.startswith("X="):  # an equation: no thousands separators
        return re.sub(r"\d+(?:\.\d+)?", lambda m: number(m).replace(",", ""), text)
    return NUMBER.sub(number, text)


def _result(line: str) -> Fraction:
    return Fraction(line.rsplit("=", 1)[-1].strip())


def _all_whole(lines: list[str]) -> bool:
    return all(re.fullmatch(r"[-+*/= \d]+", line) for line in lines)
