"""Numbers as people and models write them: `1,200`, `−3`, `$4.50`, `1/2`, `2 1/2`, `1.5e3`,
`3 × 10^4`, `\\frac{1}{2}`, `12.`, `50%`; and which number of a text is its answer.

Every function takes time that grows with the text's length only, and fails on no text.
"""

import re
import unicodedata
from fractions import Fraction

MAX_DIGITS = 400  # numbers with more digits, or powers of ten beyond it, are not read
_VULGAR = "½⅓⅔¼¾⅕⅖⅗⅘⅙⅚⅛⅜⅝⅞"
_RAISED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"
_DASHES = str.maketrans(dict.fromkeys("−–‑－", "-"))  # the minus sign, and what is typed for it
_RAISED_AND_VULGAR = str.maketrans(
    {
        **{one: unicodedata.normalize("NFKC", one).replace("⁄", "/") for one in _VULGAR},
        **dict(zip(_RAISED, "0123456789-", strict=True)),
    }
)
_FRAC = r"\\[cdt]?frac *(?:\{ *(-?\d+) *\} *\{ *(\d+) *\}|(\d) *(\d)(?!\d))"
# LaTeX and Unicode spellings, in the form that _NUMBER knows. In this order.
_SPELLINGS = (
    (re.compile(rf"(?<=\d)(?=[{_VULGAR}])"), " "),
    (re.compile(rf"(?<=10)(?=[{_RAISED}])"), "^"),
    (re.compile(r"\\([$%])"), r"\1"),
    # thousands: 1{,}234, 1\,234, 1_234, and with a narrow space
    (re.compile(r"(?<=\d)(?:\{,\}|,\\!|\\,|[_\u00a0\u2009\u202f])(?=\d{3}(?!\d))"), ","),
    (re.compile(r"\\(?:times|cdot)(?![a-z])"), "×"),
    (re.compile(rf"(?<=\d){_FRAC}"), r" \1\3/\2\4"),
    (re.compile(_FRAC), r"\1\3/\2\4"),
    (re.compile(r"\^\{ *([-+]?\d+) *\}"), r"^\1"),
    (re.compile(r"(?<=\d)\*\*(?=-?\d)"), "^"),
    (re.compile(r"(\\[a-z]+)(?=\d)"), r"\1 "),  # \approx5
    (re.compile(r"((?:[=:({\[#]|\b(?:is|be|equals)\b)[ *_`]*)(?:- +|minus +)(?=[$.\d])"), r"\1-"),
    (re.compile(r"\bnegative +(?=[$.\d])"), "-"),
)
_NUMBER = re.compile(
    r"(?P<root>(?:√|\bsqrt|\\sqrt(?:\[\d+\])?) ?[({]?)?"
    # A minus is a sign where nothing stands before it that it could be taken from.
    r"(?P<sign>(?<![\w)\]}%^])-)?"
    r"(?:(?:\b(?:US|CA|AU|NZ|HK)|(?<![a-z]))[$€£¥₹] ?(?P<late>-)?)?"
    # No digits of a name (x_1, CO2), of a unit (cm^2, m2) or behind a decimal point.
    r"(?P<whole>(?:(?<![a-z_^\d])|(?<=\dx)|(?<=\bUSD)|(?<=\bEUR)|(?<=\bGBP)|(?<=\bRs))"
    r"(?<!_\{)(?<!\^-)(?<!\d\.)(?:\d{1,3}(?:,\d{3})+(?!\d)|\d+)(?:\.\d+)?|(?<![\w.])\.\d+)"
    r"(?:e(?P<e>[-+]?\d+)(?!\w|\.\d)|\s?[×x*·]\s?10\^(?P<ten>[-+]?\d+)|\^(?P<power>-?\d+))?"
    r"(?:\s?/\s?(?P<over>\d+)(?!\d|\.\d|/\d)|\s(?P<part>\d+)/(?P<of>\d+)(?!\d|\.\d|/\d))?"
    r"(?P<odd> ?[*·]? ?(?:√|\\?sqrt\b|\\pi\b|π|pi\b))?"
    r"(?: ?(?P<scale>%|¢|percent\b|cents?\b|dozen\b|hundred\b|thousand\b|[mbt]r?illion\b))?",
    re.ASCII | re.IGNORECASE,
)
_SCALES = {
    **dict.fromkeys(("%", "percent", "¢", "cent", "cents"), Fraction(1, 100)),
    **{"dozen": Fraction(12), "hundred": Fraction(100), "thousand": Fraction(10**3)},
    **{"million": Fraction(10**6), "billion": Fraction(10**9), "trillion": Fraction(10**12)},
}
_MARKED = re.compile(
    r"#{4,}|\\boxed *\{|(?<!/)\banswer\b(?:[^.\n:=]{0,60}?"
    r"\b(?:is|was|equals|(?:would|will|should|must|may|might|could|can) be|has to be|comes to|of)\b"
    r"(?! *(?:not\b|n't))|[*_ ]*[:=>→])",
    re.IGNORECASE,
)
_BESIDE = " \t\n\r:*_`\"'“”(~≈"  # what may stand between a mark and the number
_DIRECTLY = re.compile(r"[$€£¥₹+\-.√\\({ ]*(?:[a-z] ?= ?)?[$+\-. ]*\d", re.IGNORECASE)
_SENTENCE_END = re.compile(r"\n|</|(?<!\bRs)(?<!\bNo)(?<!\bapprox)(?<!\bca)[.;!?](?=[\s*)\"'<]|$)")
_CLAUSE_END = re.compile(r",(?=\s|$)")
# "3 + 4": a calculation that is not worked out where it stands.
_CALCULATION = re.compile(r"[^=\w]{0,40}[\d.,/]{1,40}\s{0,3}[-+*/×÷x]\s{0,3}[\d$(]")
# In words, with the result behind: "the sum of 3 and 4, which is 7", "twice 9, so 18".
_OPERATION = re.compile(r"\b(?:sum|difference|product|quotient|ratio) (?:of|between)\b", re.I)
_RELATION = re.compile(
    r"\b(?:twice|half|double|triple|plus|minus|times|(?:divided|multiplied) by|added to|"
    r"(?:more|less|fewer) than|of)\b",
    re.IGNORECASE,
)
_WORKED_OUT = re.compile(
    r"\b(?:(?:which|that) (?:is|equals|makes|gives|leaves|comes to)|making|giving|i\.e|equals|"
    r"equal to|so|or)\b[.:, ]{0,3}(?=[$\-+.\d])",
    re.IGNORECASE,
)
_OR = re.compile(r"[*_$`}) ]*,?\s*\bor\b[*_$`( ]*", re.IGNORECASE)
_LISTED_STEPS = re.compile(r"[*#_ ]*(?:step *1\b|1[.)] +[a-z(*])", re.IGNORECASE)
_NEXT_STEP = re.compile(r"\n[*#_ ]*(?:step *2\b|2[.)] )", re.IGNORECASE)

Found = re.Match[str]


def numbers_in(text: str) -> list[Fraction]:
    """All numbers of a text in reading order. "3/4" is one number, "-" before a digit a sign."""
    values = map(_value, _NUMBER.finditer(_spelled(text)))
    return [value for value in values if value is not None]


def answered_number(text: str) -> Fraction | None:
    """The number a text gives as its answer: behind its last mark (`####`, `\\boxed{`, "answer
    is") what the sentence there works out ("12 - 5 = 7", "the sum of 3 and 4, which is 7"), or
    else the first; without a mark the last number of all. None where there is no number, where
    two are left to choose from ("5 or 6"), or where it is not worked out ("3 + 4", "2√3")."""
    found = _answer(_spelled(text))
    return _value(found) if found else None


def same_number(text: str, answer: str) -> bool:
    """Whether a text answers with this number. Where either is whole, exactly, but for what
    floating point leaves (28.999999999999996 is 29; 1999.9 is not 2000). Others within one part in
    ten thousand, or rounded to four places (0.0667 is 1/15).

    What stands behind a number may be left out or worked in: 50% is 50 and 0.5, "2 million" is 2
    and 2000000.
    """
    wanted, got = _answer(_spelled(answer)), _answer(_spelled(text))
    if wanted is None or got is None:
        return False
    return _same(got, wanted)


def is_number(text: str) -> bool:
    """Whether a text is nothing but a number: "-3", "$1,200.", "1e-05", "#### 5"."""
    found = _NUMBER.fullmatch(_spelled(text).strip().lstrip("#= ").rstrip("."))
    return found is not None and _value(found) is not None


def _same(one: Found, other: Found) -> bool:
    first, second = _value(one), _value(other)
    if first is None or second is None:
        return False
    whole = Fraction(1)
    scales = [Fraction(_SCALES.get((m["scale"] or "").casefold(), whole)) for m in (one, other)]
    return _equal(first, second) or (
        scales[0] != scales[1] and _equal(first * scales[0], second * scales[1])
    )


def _equal(got: Fraction, wanted: Fraction) -> bool:
    apart, size = abs(got - wanted), abs(wanted)
    if got.denominator == 1 or wanted.denominator == 1:
        return apart <= min(Fraction(1, 10**9) * max(size, Fraction(1)), Fraction(1, 1000))
    rounded = apart <= Fraction(5, 10**5) and apart <= size / 100
    return apart <= size / 10_000 or rounded


def _spelled(text: str) -> str:
    """With digits, signs, fractions and powers in one spelling."""
    if not text.isascii():
        text = re.sub(r"\d", lambda digit: str(int(digit[0])), text)
    text = text.translate(_DASHES)
    for spelling, plain in _SPELLINGS:
        text = spelling.sub(plain, text)
    return text.translate(_RAISED_AND_VULGAR)


def _value(found: Found) -> Fraction | None:
    """None for a number of unreasonable length, and where a root or π makes it another one."""
    whole = found["whole"].replace(",", "")
    powers = [found[name] or "0" for name in ("e", "ten", "power")]
    if found["root"] or found["odd"] or len(whole) > MAX_DIGITS or max(map(len, powers)) > 5:
        return None
    if any(abs(int(power)) > MAX_DIGITS for power in powers):
        return None
    value = Fraction(whole)
    if found["power"]:
        power = int(found["power"])
        if len(whole) * abs(power) > MAX_DIGITS or (value == 0 and power < 0):
            return None
        value **= power
    value *= Fraction(10) ** (int(powers[0]) + int(powers[1]))
    over, part, of = (found[name] or "" for name in ("over", "part", "of"))
    if max(map(len, (over, part, of))) > MAX_DIGITS:
        return None
    if over.strip("0"):
        value /= int(over)
    elif of.strip("0"):
        value += Fraction(int(part), int(of))
    return -value if found["sign"] or found["late"] else value


def _matches(text: str, start: int, end: int) -> list[Found]:
    return list(_NUMBER.finditer(text, start, end))


def _answer(text: str) -> Found | None:
    """The number that answers, in a text as `_spelled` writes it."""
    if "\n" not in text.strip():  # else it is a list's mark
        text = re.sub(r"^\s*- +(?=[$.\d])", "-", text)
    end, given = len(text), []
    for mark in reversed(list(_MARKED.finditer(text))):
        given = _given_behind(text, mark, end)
        end = mark.start()
        if given:
            break
    else:
        found = _matches(text, 0, len(text))
        given = found[-2:] if _is_choice(text, found[-2:]) else found[-1:]
    return given[0] if len(given) == 1 else None


def _given_behind(text: str, mark: Found, end: int) -> list[Found]:
    """What a mark gives, before `end`: none, the number, or several that are left to choose."""
    start = mark.end()
    while start < end and text[start] in _BESIDE:
        start += 1
    if mark[0].startswith("\\"):  # an explanation may go on behind the box
        end = _end_of_braces(text, mark.end(), end)
        return _said(text, start, end, end)
    if mark[0].startswith("#") and not _DIRECTLY.match(text, start, end):
        return []  # a heading
    if _LISTED_STEPS.match(text, start, end) and _NEXT_STEP.search(text, start, end):
        return _matches(text, start, end)[-1:]
    stop = _SENTENCE_END.search(text, start, end)
    sentence = stop.start() if stop else end
    return _said(text, start, sentence, end)


def _said(text: str, start: int, sentence: int, end: int) -> list[Found]:
    """What a sentence gives that ends at `sentence`; `end`: of what may be read at all."""
    comma = _CLAUSE_END.search(text, start, sentence)
    clause = comma.start() if comma else sentence
    equals = text.find("=", start, clause)
    while equals >= 0:  # "X = 3 + 4 = 7": behind the first stands more of the calculation
        following = text.find("=", equals + 1, clause)
        part = _matches(text, equals + 1, following if following >= 0 else clause)
        if part and not _CALCULATION.match(text, equals + 1, clause):
            return part[: 2 if _is_choice(text, part[:2]) else 1]
        equals = following
    calculation = _CALCULATION.match(text, start, clause) or _OPERATION.search(text, start, clause)
    asked = calculation or _RELATION.search(text, start, sentence)
    result = asked and _WORKED_OUT.search(text, asked.end(), sentence)
    if result:
        return _matches(text, result.end(), sentence)[:1]
    found = _matches(text, start, clause)
    if calculation and found:
        return found
    found = found or _matches(text, clause, sentence)
    if not found:
        return _matches(text, sentence, end)[-1:]
    return found[: 2 if _is_choice(text, found[:2]) else 1]


def _is_choice(text: str, found: list[Found]) -> bool:
    """Whether two different numbers are offered: "5 or 6", not "1/2 or 0.5", "3 + 4 or 7"."""
    if len(found) < 2:
        return False
    one, other = found
    before = text[max(one.start() - 4, 0) : one.start()].rstrip(" $")
    if before.endswith(tuple("+-*/×÷")):
        return False
    return bool(_OR.fullmatch(text, one.end(), other.start())) and not _same(one, other)


def _end_of_braces(text: str, start: int, end: int) -> int:
    """Where the brace before `start` is closed; the end of the line where it is not."""
    depth = 1
    for brace in re.compile(r"[{}]").finditer(text, start, end):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return brace.start()
    line = text.find("\n", start, end)
    return line if line >= 0 else end
