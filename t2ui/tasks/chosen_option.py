"""Which option of a multiple-choice question a text chooses: by its key ("B", "(b)", "2") or by
its own words ("fog").

A key is often a word too: the A of "A dog barks", the 3 of "3 apples". It counts where what stands
around it says that it is a key. A key that is said to be wrong does not count, nor do two that are
left to choose from.
"""

import re
from collections.abc import Mapping

_OPENING = r"[\s*_\"'`“‘({\[$]*"  # between a mark and a key: spaces, bold, quotes, brackets
_CLOSING = r"[*_\"'`”’)}\]$]*"
_BE = r"(?:is|was|(?:would|should|must|will|has to|might|may|could) be)"
_NOUN = r"(?:the\s+)?(?:correct\s+|right\s+)?(?:option|choice|alternative|letter|answer)\b"

# Marks of an answer, and what may lead from them to it: "answer: option B", "answer to this is B".
_ANSWER = re.compile(r"#{4,}|\\boxed\s*\{|(?<!/)\banswer\b", re.IGNORECASE)
_LEADS = tuple(
    re.compile(
        rf"{between}(?:\s+(?:\w+ly|thus|then|indeed|most))*[\s*_]*[:=>→]?(?:\s*{_NOUN}(?:\s+{_BE}\b)?\s*:?)?",
        re.IGNORECASE,
    )
    for between in ("", rf"[^.\n:=]{{0,60}}?\b{_BE}\b")
)
_DECISION = re.compile(
    r"\b(?:(?:choose|chose|pick|select|prefer|guess|say)\w{0,2}|"
    r"(?:go|going|opt|opting) (?:with|for)|"
    r"it(?:'s|’s| is)|(?:must|should|would|has to) be|"
    r"(?:correct|right|best|final|my) (?:one|option|choice|letter|pick))"
    rf"(?:\s+{_BE})?\b[\s:]*(?:{_NOUN}\s*)?",
    re.IGNORECASE,
)
_OPTION = re.compile(r"\b(?:option|choice|alternative)\b\s*:?", re.IGNORECASE)
_SO = re.compile(r"(?:^|\n|\b(?:so|thus|therefore|hence)\b,?)", re.IGNORECASE)

_NOT_BEFORE = re.compile(
    r"(?:\bnot|\bcannot|n't|n’t|\bnever|\bneither|\bnor|\bunlike|\bthan|\bexcept|\binstead of|"
    r"\b(?:eliminat|reject|exclud|dismiss)\w{1,4}|\brul\w{1,3} out)"
    r"(?:\s+(?:the|a|an|for|with|be|option|choice|answer|to|in|say|it)){0,3}[\s*_\"'`“‘({\[$]*$",
    re.IGNORECASE,
)
_NOT_BEHIND = re.compile(
    rf"{_CLOSING}\s+(?:(?:is|are|was|were|would be|can be|seems?|looks?)\s+(?:\w+ly\s+|also\s+|"
    r"just\s+)?(?:not|never|incorrect|wrong|false|ruled out|eliminated|excluded|irrelevant|"
    r"impossible|out)\b|(?:is|was|are|does|do|did|ca|would|could)(?:n't|n’t)|cannot\b|"
    r"(?:does|do|did|can|could|would) not\b)",
    re.IGNORECASE,
)
_CONFIRMED = re.compile(
    rf"{_CLOSING}\s+(?:{_BE}|seems|looks)\s+(?:(?:the|most|likely|only|probably|clearly|also)\s+)*"
    r"(?:correct|right|best|true|answer)\b",
    re.IGNORECASE,
)
_ENDS = r"(?:\s*$|\s*\n|\s*[.,:;!?)(/–—-](?!\d))"
_REASON = r"(?:because|since|due)"
_WORDS_BEHIND = (
    r"(?:as|for|given|so|but|not|which|while|considering|if|when|by|based|and|or|is|are|was|were|"
    r"with|that|it|this|these|the|in|on|i|we|they)"
)
_AS_A_KEY = re.compile(rf"{_CLOSING}(?:{_ENDS}|\s+(?:{_REASON}|{_WORDS_BEHIND})\b)", re.IGNORECASE)
_AS_A_HEADING = re.compile(
    rf"[)\]}}:]|[.,/](?!\d)|[*_\"'`](?!\w)|[?!]?\s*$|\s*\n|\s+[–—-]\s|\s+(?:or|and|&)\s|"
    rf"{_CLOSING}\s+{_REASON}\b",
    re.IGNORECASE,
)
_OFFERED = re.compile(rf"{_CLOSING}\s*(?:,\s*(?:and|or)\b|[,/&]|or\b|and\b)\s*(?:{_NOUN})?", re.I)
_VERB = re.compile(
    rf"{_CLOSING}\s+(?:is|are|was|were|isn't|would|does|do|did|can|could|has|have|will|may|might|"
    r"seems?|looks?|cannot|can't)\b",
    re.IGNORECASE,
)
_LATEX_TEXT = re.compile(r"\\(?:text|math|mbox)[a-z]*\s*\{")
_HTML_BOLD = re.compile(r"</?(?:b|strong|i|em|u)>", re.IGNORECASE)
_WORDS_THEMSELVES = ("A", "I")
_OPENED, _OPENING_WITH_ARTICLE, _HEADED = (
    re.compile(pattern, re.IGNORECASE)
    for pattern in (_OPENING, rf"{_OPENING}(?:(?:an?|the)\s+)?", rf"{_CLOSING}[\s.):–—-]*")
)
_CLOSED_BY = {"(": ")", "[": "]", "{": "}", "*": "*", "_": "_", '"': '"', "'": "'", "`": "`"}


def chosen_key(text: str, options: Mapping[str, str]) -> str | None:
    """The key of the option that a text chooses: "B", "(b)", "The answer is 2", "C. fog", "fog".

    Args:
        options: key -> the option's own text. Keys are letters or digits.

    Returns:
        None where the text chooses none, or several. A capital A that opens a sentence ("A dog
        …") and a digit that counts something ("3 apples") choose nothing.
    """
    text = _HTML_BOLD.sub("*", _LATEX_TEXT.sub("{", text))
    reader = _Reader(text, options)
    for given in (
        reader.behind_answers,
        reader.behind_decisions,
        reader.confirmed,
        reader.opening,
        reader.set_apart,
        reader.of_options,
        reader.concluding,
        reader.in_words,
    ):
        keys = given()
        if keys:
            return keys.pop() if len(keys) == 1 else None
    return None


def whole_words(words: str) -> re.Pattern[str]:
    """Finds these words in a text, whole and whatever their case; 3 is not found in 3.5 or 43."""
    wanted = r"\s+".join(map(re.escape, words.split()))
    before = r"(?<!\w)" if re.match(r"\w", words.strip()) else ""
    after = r"(?!\w)" if re.search(r"\w$", words.strip()) else ""
    if words.strip()[:1].isdecimal():
        before += r"(?<!\d[.,])"
    if words.strip()[-1:].isdecimal():
        after += r"(?![.,]\d)"
    return re.compile(before + wanted + after, re.IGNORECASE)


class _Reader:
    """Ways to read a text, the plainest first. Each gives the keys that it finds: none, the one
    that is chosen, or several between which the text does not decide."""

    def __init__(self, text: str, options: Mapping[str, str]):
        self.text, self.options = text, options
        self.keys = {key.casefold(): key for key in options}
        self.one = "|".join(map(re.escape, sorted(self.keys, key=len, reverse=True)))
        self.key = re.compile(rf"{_OPENING}({self.one})(?![\w'’])(?![.,]\d)", re.IGNORECASE)
        # The longest first, where one option holds another: "fog" and "thick fog".
        worded = sorted((k for k in options if options[k].strip()), key=lambda k: -len(options[k]))
        self.words = {key: whole_words(options[key]) for key in worded}

    def behind_answers(self) -> set[str]:
        """The last "answer is", `####` or `\\boxed{` that a key or an option's words follow."""
        for mark in reversed(list(_ANSWER.finditer(self.text))):
            leads = _LEADS if mark[0][0] in "aA" else _LEADS[:1]
            for lead in filter(None, (lead.match(self.text, mark.end()) for lead in leads)):
                found = self._keys_at(lead.end()) or self._words_at(lead.end())
                if found:
                    return found
        return set()

    def behind_decisions(self) -> set[str]:
        """The last "I choose", "it is" and the like that a key follows."""
        for mark in reversed(list(_DECISION.finditer(self.text))):
            if not self._denied(mark.start(), mark.end()):
                found = self._keys_at(mark.end())
                if found:
                    return found
        return set()

    def confirmed(self) -> set[str]:
        """ "B is correct"."""
        return {
            self.keys[m[1].casefold()]
            for m in re.finditer(rf"(?<![\w'’])({self.one})(?![\w'’])", self.text, re.IGNORECASE)
            if _CONFIRMED.match(self.text, m.end())
        }

    def opening(self) -> set[str]:
        """A key that opens the text and stands for itself, if the text does not list them all."""
        found = self.key.match(self.text)
        if not found or self._denied(found.start(1), found.end()) or self._lists_options(found):
            return set()
        own = self._own_words_follow(found)
        if not own and not _AS_A_HEADING.match(self.text, found.end()):
            return set()
        return self._with_offered(found)

    def set_apart(self) -> set[str]:
        """Keys in brackets or bold."""
        apart = rf"\(({self.one})\)|\*\*\s?\(?({self.one})\)?(?:[.):]?\s?\*\*|[.):]\s)"
        return {
            self.keys[(m[1] or m[2]).casefold()]
            for m in re.finditer(apart, self.text, re.IGNORECASE)
            if not self._denied(m.start(), m.end())
        }

    def of_options(self) -> set[str]:
        """ "Option B"."""
        found: set[str] = set()
        for mark in _OPTION.finditer(self.text):
            if not self._denied(mark.start(), mark.end()):
                found |= self._keys_at(mark.end())
        return found

    def concluding(self) -> set[str]:
        """A key alone on the last line, or "so B." at the end."""
        tail = self.text.rstrip()[-200:]
        for mark in _SO.finditer(tail):
            found = self.key.match(tail, mark.end())
            if found and re.fullmatch(rf"{_CLOSING}[.!]?{_CLOSING}", tail[found.end() :]):
                return {self.keys[found[1].casefold()]}
        return set()

    def in_words(self) -> set[str]:
        """Options whose own words stand in the text, without those that another one's words
        hold."""
        named = [
            key
            for key, words in self.words.items()
            if any(not self._denied(*m.span()) for m in words.finditer(self.text))
        ]
        return {key for key in named if not any(self._holds(other, key) for other in named)}

    def _holds(self, other: str, key: str) -> bool:
        return other != key and bool(self.words[key].search(self.options[other]))

    def _keys_at(self, place: int) -> set[str]:
        """The key that stands there as a key, with those that are offered beside it."""
        found = self.key.match(self.text, place)
        if not found or not self._is_key(found) or self._denied(found.start(1), found.end()):
            return set()
        return self._with_offered(found)

    def _words_at(self, place: int) -> set[str]:
        """The option whose own words stand there, with one that is offered beside it."""
        found = self._option_at(_end_of(_OPENING_WITH_ARTICLE, self.text, place))
        found = found or self._option_at(_end_of(_OPENED, self.text, place))
        if not found or self._denied(*found[1].span()):
            return set()
        key, words = found
        offered = _OFFERED.match(self.text, words.end())
        other = offered and self._option_at(_end_of(_OPENED, self.text, offered.end()))
        return {key, other[0]} if other else {key}

    def _option_at(self, place: int) -> tuple[str, re.Match[str]] | None:
        for key, words in self.words.items():
            found = words.match(self.text, place)
            if found:
                return key, found
        return None

    def _is_key(self, found: re.Match[str]) -> bool:
        """Whether it stands there as a key, not as a word or a count of something."""
        key, before, behind = found[1], self.text[found.start(1) - 1 : found.start(1)], found.end()
        if self._own_words_follow(found) or _AS_A_KEY.match(self.text, behind):
            return True
        if before and self.text[behind : behind + 1] == _CLOSED_BY.get(before, ""):
            return True
        return key.isalpha() and key.upper() not in _WORDS_THEMSELVES

    def _own_words_follow(self, found: re.Match[str]) -> bool:
        words = self.words.get(self.keys[found[1].casefold()])
        between = _end_of(_HEADED, self.text, found.end())
        return words is not None and words.match(self.text, between) is not None

    def _with_offered(self, found: re.Match[str]) -> set[str]:
        """The key, and another one that is offered beside it: "A or B"."""
        chosen = {self.keys[found[1].casefold()]}
        offered = _OFFERED.match(self.text, found.end())
        other = offered and self.key.match(self.text, offered.end())
        if other and self._is_key(other) and not _VERB.match(self.text, other.end()):
            chosen.add(self.keys[other[1].casefold()])
        return chosen

    def _denied(self, start: int, end: int) -> bool:
        """Whether what stands there is said to be wrong."""
        before = self.text[max(start - 60, 0) : start]
        return bool(_NOT_BEFORE.search(before) or _NOT_BEHIND.match(self.text, end))

    def _lists_options(self, found: re.Match[str]) -> bool:
        """Whether the key that opens the text only begins a list of the options."""
        first, second = list(self.keys.values())[:2]
        if self.keys[found[1].casefold()] != first:
            return False
        item = rf"(^[ \t*_(\[-]*|(?<![\w'’])){re.escape(second)}[.):]"
        return any(
            m[1] is not None
            and (m.start() == 0 or self.text[m.start(1) - 1] == "\n")
            or self.words[second].match(self.text, _end_of(_HEADED, self.text, m.end()))
            for m in re.finditer(item, self.text, re.IGNORECASE | re.MULTILINE)
        )


def _end_of(pattern: re.Pattern[str], text: str, place: int) -> int:
    """Where the match at a place ends, of a pattern that matches everywhere."""
    found = pattern.match(text, place)
    assert found is not None, pattern.pattern
    return found.end()
