"""Numbers as people and models write them: `1,200`, `−3`, `$4.50`, `1/2`, `2 1/2`, `12.`."""

import re
from fractions import Fraction

_MINUS = "−–"  # the minus sign and the dash that is typed for it
_DIGITS = r"(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+"
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w)])-)?(?:\$\s?(?P<late>-)?)?(?P<whole>(?<![\d.]){_DIGITS})"
    r"(?:\s?/\s?(?P<over>\d+)|\s(?P<part>\d+)/(?P<of>\d+))?"
)
_FRAC = re.compile(r"\\[dt]?frac\s*\{(\d+)\}\s*\{(\d+)\}")  # LaTeX
# "X = 3 + 4 = 7": behind the first equals sign stands more of the calculation.
_CALCULATION = re.compile(r"[^=\w]*[\d.,/]+\s*[-+*/×÷x]\s*[\d$(]")
_SENTENCE_END = re.compile(r"\n|[.;,](?=\s|$)")
_MARKED = re.compile(r"####|\\boxed\s*\{|\banswer\b(?: is|:|=)", re.IGNORECASE)


def numbers_in(text: str) -> list[Fraction]:
    """All numbers of a text in reading order. "3/4" is one number, "-" before a digit a sign."""
    for sign in _MINUS:
        text = text.replace(sign, "-")
    text = _FRAC.sub(r"\1/\2", text)
    found = []
    for match in _NUMBER.finditer(text):
        value = Fraction(match["whole"].replace(",", ""))
        if match["over"] and int(match["over"]):
            value /= int(match["over"])
        elif match["of"] and int(match["of"]):
            value += Fraction(int(match["part"]), int(match["of"]))
        found.append(-value if match["sign"] or match["late"] else value)
    return found


def answered_number(text: str) -> Fraction | None:
    """The number a text gives as its answer: behind its last mark (`####`, `\\boxed{`, "answer
    is") what the sentence there works out ("12 - 5 = 7"), or else the first; without a mark the
    last number of all. None where there is no number."""
    marks = list(_MARKED.finditer(text))
    if marks:
        behind = text[marks[-1].end() :].lstrip(" \t\n:*")
        sentence = _SENTENCE_END.split(behind, maxsplit=1)[0]
        if marks[-1][0].startswith("\\"):  # an explanation may go on behind the box
            sentence = sentence.split("}")[0]
        for part in sentence.split("=")[1:]:
            worked_out = numbers_in(part)
            if worked_out and not _CALCULATION.match(part):
                return worked_out[0]
        given = numbers_in(behind)
        if given:
            return given[0]
    found = numbers_in(text)
    return found[-1] if found else None


def same_number(text: str, answer: str) -> bool:
    """Whether a text answers with this number: whole numbers exactly, others within one part in
    ten thousand."""
    wanted, got = answered_number(answer), answered_number(text)
    if wanted is None or got is None:
        return False
    if wanted.denominator == got.denominator == 1:
        return wanted == got
    return abs(got - wanted) <= Fraction(1, 10_000) * max(abs(wanted), 1)
