"""Names in a teacher's file: of seats, presets, tasks. Two that look alike are one."""

import unicodedata
from collections.abc import Sequence
from typing import Any

from t2ui.errors import InputError, quoted

MOST_NAME = 40  # characters of a seat, a preset, a task
JOINER = "\u200d"  # makes one emoji of several
SKINS = "\U0001f3fb\U0001f3fc\U0001f3fd\U0001f3fe\U0001f3ff"  # colours of an emoji
VARIANT = "\ufe0f"  # the coloured form of an emoji
NON_JOINER = "\u200c"  # keeps letters apart, in Persian say
# England's, Scotland's and Wales's are spelled by signs that are not seen, behind a black flag
BLACK_FLAG = "\U0001f3f4"
FLAGS = tuple(
    BLACK_FLAG + "".join(chr(0xE0000 + ord(letter)) for letter in land) + "\U000e007f"
    for land in ("gbeng", "gbsct", "gbwls")
)
VIRAMA = 9  # the combining class of signs that joiners may follow, in the scripts of India
# printable by Unicode, and not seen: fillers of Hangul, an empty braille cell, joiners of marks
UNSEEN = "\u3164\u115f\u1160\uffa0\u2800\u034f\u17b4\u17b5"
# choose among a sign's forms, which look nearly the same
FORMS = {*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0), *range(0x180B, 0x1810)}
BASE, SEARCH = "base model", "CEM search"  # who plays along in a contest


def name_of(said: Any, what: str, most: int = MOST_NAME) -> str:
    """A name in the one form that it has here: composed characters, plain single spaces.

    Args:
        what: whose it is, for the message.

    Raises:
        InputError: no text, none or too many characters, or one that is not seen.
    """
    if not isinstance(said, str):
        raise InputError(f'{what} is {quoted(said)}; expected a text in quotes, like "Ada".')
    text = unicodedata.normalize("NFC", " ".join(said.split()))
    if not 1 <= len(text) <= most:
        raise InputError(f"{what} is {quoted(said)}; expected 1 to {most} characters.")
    seen = text
    for flag in FLAGS:
        seen = seen.replace(flag, BLACK_FLAG)
    for place, sign in enumerate(seen):
        if not place and unicodedata.category(sign).startswith("M"):
            raise InputError(f"{what} is {quoted(said)}; its first sign stands on no letter.")
        if sign in UNSEEN or not sign.isprintable() and not _joins(seen, place):
            called = unicodedata.name(sign, "a control character").lower()
            raise InputError(
                f"{what} is {quoted(said)}; U+{ord(sign):04X} ({called}) is not seen: leave it out."
            )
    return text


def check_apart(names: Sequence[str], what: str, taken: Sequence[str] = ()) -> None:
    """
    Args:
        what: they are, "name" say.
        taken: names that are not to be had.

    Raises:
        InputError: two of them look alike, or one is taken.
    """
    seen: set[str] = set()
    for name in names:
        same = _look(name)
        if _letters(name) in map(_letters, taken):
            raise InputError(
                f"the {what} {quoted(name)} is taken in every contest: choose another."
            )
        if same in seen:
            raise InputError(f"the {what} {quoted(name)} is there twice: tell the two apart.")
        seen.add(same)


def _look(name: str) -> str:
    folded = unicodedata.normalize("NFKC", name).casefold()
    return "".join(s for s in folded if ord(s) not in FORMS and s not in (JOINER, NON_JOINER))


def _letters(name: str) -> str:
    """Its look, whatever stands between the letters."""
    return "".join(filter(str.isalnum, _look(name)))


def _joins(text: str, place: int) -> bool:
    """Whether the character there joins two emoji, or belongs between two letters."""
    sign, before, after = text[place], text[:place][-1:], text[place + 1 : place + 2]
    if sign not in (JOINER, NON_JOINER) or not before:
        return False
    if unicodedata.combining(before) == VIRAMA:
        return True
    if sign == NON_JOINER:
        return {*map(unicodedata.bidirectional, (before, after or " "))} == {"AL"}  # Arabic letters
    return _is_emoji(text[:place].rstrip(VARIANT)[-1:]) and _is_emoji(after)


def _is_emoji(sign: str) -> bool:
    return bool(sign) and (unicodedata.category(sign) in ("So", "Sm") or sign in SKINS)
