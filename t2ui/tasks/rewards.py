"""Whether a text is a right answer, by name: what `jsonl` tasks choose from.

Every function takes (text, answer). Numbers are in `numbers`, tests of code in `code`.
"""

import json
import re
import warnings

import regex as timed

from t2ui.tasks.chosen_option import chosen_key, whole_words

REGEX_SECONDS = 1.0  # of processor time
# Escaped signs and repetitions stay as they are; every other opening brace is only a sign.
_BRACE = re.compile(r"\\N\{[^}]*\}|\\.|\{\d*,?\d*\}|\{", re.DOTALL)


def exact(text: str, answer: str) -> bool:
    """The same words and signs; only white space may differ."""
    return text.split() == answer.split()


def contains(text: str, answer: str) -> bool:
    """The answer stands in the text as whole words; case and white space do not matter."""
    if not answer.strip():
        return False
    return whole_words(answer.casefold()).search(text.casefold()) is not None


def regex(text: str, answer: str) -> bool:
    """The pattern, in the syntax of Python's `re`, is found somewhere in the text; `.` does not
    match line ends. A search that takes longer than `REGEX_SECONDS`, as with a pattern like
    `(a|aa)+$` on a text that nearly matches, is ended and counts as not found, with a warning that
    names the pattern."""
    try:
        found = timed.search(_as_timed(answer), text, timeout=REGEX_SECONDS, concurrent=True)
    except TimeoutError:
        warnings.warn(
            f"reward regex: {answer[:100]!r} was still searching after {REGEX_SECONDS:g} s; such "
            "texts count as wrong. Write the pattern without nested repetitions.",
            stacklevel=2,
        )
        return False
    return found is not None


def check_regex(pattern: str) -> None:
    """Whether `regex` can use a pattern.

    Raises:
        ValueError: says why not.
    """
    try:
        with warnings.catch_warnings():  # re warns of sets that may mean more one day
            warnings.simplefilter("ignore")
            re.compile(pattern)
        timed.compile(_as_timed(pattern))
    except (re.error, timed.error, OverflowError, RecursionError, MemoryError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def _as_timed(pattern: str) -> str:
    """The same pattern for the package `regex`, which has a time limit, and in which `{e}` behind
    an item asks for a match with errors; in `re` such braces are only signs."""
    return _BRACE.sub(lambda m: rf"\{m[0]}" if m[0] == "{" else m[0], pattern)


def choice(text: str, answer: str) -> bool:
    """The text chooses the right option.

    Args:
        answer: JSON, {"key": "B", "options": {"A": "rain", "B": "fog"}}.
    """
    wanted = json.loads(answer)
    return chosen_key(text, wanted["options"]) == wanted["key"]
