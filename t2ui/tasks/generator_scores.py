"""How a text is judged by a generator's scorer, which takes bare answers.

Of a text the scorer sees the answer between <answer> tags, or where there are none: the whole text,
what stands behind "the answer is", and, where the right answer is a number, that number if the text
answers with it. The best of their scores counts. A text that the scorer fails on scores 0.
"""

import re
from collections.abc import Iterator

from t2ui.tasks.numbers import answered_number, is_number

_TAGGED = re.compile(r"<answer>(.*?)</answer>", re.DOTALL)
_SAID = re.compile(r"\banswer\b[^.\n:=]{0,40}?(?:\bis\b[ \t]*:?|[:=])[ \t]*(?=\S)(.+)", re.I)
_AROUND = " \t\n*_`\"'"
_LONG_EXPONENT = re.compile(r"\d[eE][-+]?\d{4}")  # exact arithmetic with it takes for ever
MOST = 4000  # characters of an answer

# These scorers evaluate an answer as Python: only what cannot call, loop or grow may reach them.
LISTS = ("binary_matrix", "n_queens", "spiral_matrix", "string_insertion")
_LIST = re.compile(r"(?!.*\b(?:for|lambda)\b)[\w\s\[\],'\"-]*", re.DOTALL)
EXPRESSIONS = (
    *("countdown", "intermediate_integration", "polynomial_multiplication", "puzzle24"),
    "simple_integration",
)
_WORDS = "sin|cos|tan|exp|log|ln|sqrt|asin|acos|atan|sinh|cosh|tanh|sec|csc|cot|pi|Integral"
_EXPRESSION = re.compile(rf"(?:(?<![a-zA-Z])(?:[a-zA-Z]|{_WORDS})(?![a-zA-Z])|[\d\s+*/().,-])*")
# Powers by at most two digits, and at most one of a bracket with powers in it.
_POWER = re.compile(
    r"\*\*(?!\s*(?:-?\d{1,2}(?![\d.])|\(\s*-?\d{1,2}(?:\s*/\s*\d{1,2})?\s*\))(?!\s*\*\*))"
)
_TOWER = re.compile(r"\)\s*\*\*[^()]*\)\s*\*\*")


def readings(kind: str, text: str, right: str | None) -> list[str]:
    """What of a text the scorer sees.

    Args:
        kind: the generator's name.
        right: the right answer, where there is one.
    """
    return [one for one in dict.fromkeys(_readings(text[:MOST], right)) if is_safe(kind, one)]


def is_safe(kind: str, text: str) -> bool:
    """Whether a scorer can be given this text: it runs none of it and ends soon."""
    if _LONG_EXPONENT.search(text):
        return False
    if kind in LISTS:
        return _LIST.fullmatch(text) is not None
    if kind in EXPRESSIONS:
        return (
            _EXPRESSION.fullmatch(text) is not None
            and not _POWER.search(text)
            and not _TOWER.search(text)
        )
    return True


def _readings(text: str, right: str | None) -> Iterator[str]:
    tagged = _TAGGED.findall(text)
    if tagged:
        text = tagged[-1]
    yield text.strip()
    yield _bare(text)
    said = _SAID.findall(text)
    if said:
        yield _bare(said[-1])
    if right is not None and is_number(right):
        number = answered_number(text)
        if number is not None and number == answered_number(right):
            yield right


def _bare(text: str) -> str:
    """Without what people put around an answer: quotes, stars, a full stop."""
    return text.strip(_AROUND).removesuffix(".").strip(_AROUND)
