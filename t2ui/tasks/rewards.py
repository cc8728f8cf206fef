"""Whether a text is a right answer, by name: what `jsonl` tasks choose from.

Every function takes (text, answer). Numbers are in `numbers`, tests of code in `code`.
"""

import json
import re
from collections.abc import Mapping

MARKED = re.compile(r"####|\\boxed\s*\{|\b(?:answer|option|choice)\b(?:\s+is)?\s*:?", re.IGNORECASE)
OPENING = r"[\s*_\"'`({\[$]*"  # what may stand between a mark and the key: spaces, bold, brackets


def exact(text: str, answer: str) -> bool:
    """The same words and signs; only white space may differ."""
    return text.split() == answer.split()


def contains(text: str, answer: str) -> bool:
    """The answer stands in the text as whole words; case and white space do not matter."""
    wanted = r"\s+".join(map(re.escape, answer.casefold().split()))
    before = r"(?<!\w)" if re.match(r"\w", answer.strip()) else ""
    after = r"(?!\w)" if re.search(r"\w$", answer.strip()) else ""
    return bool(wanted) and re.search(before + wanted + after, text.casefold()) is not None


def regex(text: str, answer: str) -> bool:
    """The pattern is found somewhere in the text; `.` does not match line ends."""
    return re.search(answer, text) is not None


def choice(text: str, answer: str) -> bool:
    """The text chooses the right option.

    Args:
        answer: JSON, {"key": "B", "options": {"A": "rain", "B": "fog"}}.
    """
    wanted = json.loads(answer)
    return chosen_key(text, wanted["options"]) == wanted["key"]


def chosen_key(text: str, options: Mapping[str, str]) -> str | None:
    """The key of the option that a text chooses: "B", "(b)", "The answer is 2", "C. fog", "fog".

    Args:
        options: key -> the option's own text. Keys are letters or digits.

    Returns:
        None where the text chooses none, or several. A capital A that opens a sentence ("A dog
        …") and a digit that counts something ("3 apples") choose nothing.
    """
    keys = {key.casefold(): key for key in options}
    one = "|".join(map(re.escape, sorted(keys, key=len, reverse=True)))
    # The last mark that a key follows: "the answer is B", "#### B", "\boxed{B}".
    for mark in reversed(list(MARKED.finditer(text))):
        behind = text[mark.end() :]
        found = re.match(rf"{OPENING}({one})(?![\w'])(?!\s+[a-z]|[.,]\d)", behind, re.IGNORECASE)
        if found:
            return keys[found[1].casefold()]
    # Keys in brackets, of which there may be only one.
    bracketed = {k.casefold() for k in re.findall(rf"\(({one})\)", text, re.IGNORECASE)}
    if bracketed:
        return keys[bracketed.pop()] if len(bracketed) == 1 else None
    # A key that opens the text and stands for itself: alone, or before a bracket, dot or colon.
    itself = r"(?:[)\]}:]|[.,](?!\d)|[*_\"'`](?!\w)|\s*$|\s*\n)"
    found = re.match(rf"{OPENING}({one}){itself}", text, re.IGNORECASE)
    if found:
        return keys[found[1].casefold()]
    # The option's own words, if no other option's words are there; the longest where one option
    # holds another ("fog" and "thick fog").
    named = [key for key, words in options.items() if words and contains(text, words)]
    named = [
        key
        for key in named
        if not any(contains(options[other], options[key]) for other in named if other != key)
    ]
    return named[0] if len(named) == 1 else None
