"""Texts as token ids: a prompt in the model's chat format, an answer behind it.

What a person types is text. A special token that is typed, `<|im_end|>` say, is read as the
characters it is written with, so that no prompt can end its own turn; only the chat template writes
special tokens. Every other text has the ids that the tokenizer alone gives it. Knows nothing of
models and experts.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from transformers import GenerationConfig, PreTrainedTokenizerBase

from t2ui.checks import Turn, check_text
from t2ui.errors import InputError

PLACE = "_t2ui_special_tokens"  # the tokenizer's attribute that keeps what was found of it
# Characters that Unicode keeps for a program's own use: one of them marks a place inside a text.
MARKS = tuple(map(chr, range(0xFDD0, 0xFDF0)))
HEAD_TOKENS, TAIL_TOKENS = 192, 64  # of a longer prompt pass one reads this much
IN_BRACKETS = re.compile(r"[<\[].*[>\]]")


class _Specials(NamedTuple):
    """A tokenizer's special tokens, and what of the tokenizer they depend on."""

    known_by: tuple[int, str | None]  # its size and chat template
    written: re.Pattern[str]  # finds any of them in a text, the longest first
    ids: frozenset[int]  # without the unknown token's, which any text may have


def chat_ids(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    system: str | None = None,
    before: Sequence[Turn] = (),
) -> list[int]:
    """Token ids of the prompt in the model's chat format, ready for the answer's first token.

    Where the template knows no system role, the system text goes before the next request. Where
    the tokenizer has no template, every turn and the answer stand on lines of their own.

    Args:
        before: the turns of the conversation before the prompt.

    Raises:
        InputError: half of a surrogate pair in a text, or turns that the template refuses.
    """
    check_text("the prompt", prompt)
    turns = [*before, ("user", prompt)]
    if system is not None:
        check_text("the system text", system)
        turns.insert(0, ("system", system))
    told = any(role == "system" for role, _ in turns)
    if told and not (tokenizer.chat_template and _accepts_system(tokenizer)):
        turns = _told_in_requests(turns)
    mark = _unused_mark(*(text for _, text in turns))
    ids = _encoded(tokenizer, _rendered(tokenizer, turns, mark), mark)
    return ids if tokenizer.chat_template else [*_opening(tokenizer), *ids]


def chat_around(
    tokenizer: PreTrainedTokenizerBase, begun: str, answer: str
) -> tuple[list[int], list[int]]:
    """The chat around a prompt that is not known yet: token ids before it and behind it.

    Args:
        begun: how the prompt begins; what is not known yet follows it.
        answer: how the answer begins.

    Raises:
        InputError: half of a surrogate pair, or a chat template that does not show the prompt
            once.
    """
    check_text("the prompt", begun)
    mark = _unused_mark(begun, answer)
    place = mark * 2
    parts = _rendered(tokenizer, [("user", begun)], mark, end=place).split(place)
    if len(parts) != 2:
        raise InputError(
            f"The model's chat template shows a prompt {len(parts) - 1} times; once is expected: "
            "use a model whose template does."
        )
    before = _encoded(tokenizer, parts[0], mark)
    if not tokenizer.chat_template:
        before = [*_opening(tokenizer), *before]
    return before, _encoded(tokenizer, parts[1] + answer, mark)


def answer_tail(tokenizer: PreTrainedTokenizerBase) -> int:
    """How many tokens of `chat_ids` lie behind the person's text: what the chat format puts
    there, at least 1. Scope "answer" begins with them."""
    return max(1, len(chat_around(tokenizer, "", "")[1]))


def plain_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text that a model goes on writing, without any chat format.

    Raises:
        InputError: half of a surrogate pair.
    """
    return [*_opening(tokenizer), *text_ids(tokenizer, text)]


def ends_of(ids: Sequence[int]) -> tuple[int, ...]:
    """What pass one reads of a prompt's own tokens: all, or of a longer prompt both ends."""
    if len(ids) > HEAD_TOKENS + TAIL_TOKENS:
        return (*ids[:HEAD_TOKENS], *ids[-TAIL_TOKENS:])
    return tuple(ids)


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    """Token ids of a text as it stands, nothing added; special tokens in it are text.

    Raises:
        InputError: half of a surrogate pair.
    """
    check_text("a text", text)
    mark = _unused_mark(text)
    return tuple(_encoded(tokenizer, _cut(tokenizer, text, mark), mark))


def answer_ids(tokenizer: PreTrainedTokenizerBase, answer: str) -> tuple[int, ...]:
    """Token ids of a whole answer behind `chat_ids`: its text, then the end token, if there is one.

    Raises:
        InputError: half of a surrogate pair.
    """
    end = () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,)
    return (*text_ids(tokenizer, answer), *end)


# --- the chat as text ----------------------------------------------------------------------------


def _rendered(
    tokenizer: PreTrainedTokenizerBase, turns: Sequence[Turn], mark: str, end: str = ""
) -> str:
    """The chat up to the answer, a mark inside every special token that was typed.

    Args:
        end: goes behind the last turn as it is.
    """
    from jinja2 import TemplateError

    cut = [(role, _cut(tokenizer, text, mark)) for role, text in turns]
    cut[-1] = cut[-1][0], cut[-1][1] + end
    if not tokenizer.chat_template:
        return "".join(f"{text}\n" for _, text in cut)
    messages = [{"role": role, "content": text} for role, text in cut]
    try:
        return _template_text(tokenizer, messages, add_generation_prompt=True)
    except TemplateError as error:
        raise InputError(
            f"The model's chat format refuses this conversation ({error}): most want user and "
            "assistant in turn."
        ) from None


def _told_in_requests(turns: Sequence[Turn]) -> list[Turn]:
    """The conversation without a system role: what was said in it goes before the next request."""
    told: list[Turn] = []
    waiting: list[str] = []
    for role, text in turns:
        if role == "system":
            waiting.append(text)
        elif role == "user":
            told.append((role, "\n\n".join([*waiting, text])))
            waiting = []
        else:
            told.append((role, text))
    return told


def _template_text(
    tokenizer: PreTrainedTokenizerBase,
    messages: list[dict[str, str]],
    add_generation_prompt: bool = False,
) -> str:
    return str(
        tokenizer.apply_chat_template(
            messages, add_generation_prompt=add_generation_prompt, tokenize=False
        )
    )


def _accepts_system(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a system message is let through and shows up in the rendered chat."""
    from jinja2 import TemplateError

    probe = "6f1c"
    messages = [{"role": "system", "content": probe}, {"role": "user", "content": "?"}]
    try:
        return probe in _template_text(tokenizer, messages)
    except TemplateError:  # Gemma's template raises "System role not supported"
        return False


def _opening(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The token that the tokenizer begins a text with, if it has one."""
    start = tokenizer.bos_token_id
    return [start] if start is not None and start in tokenizer("")["input_ids"] else []


# --- special tokens that were typed --------------------------------------------------------------


def _unused_mark(*texts: str) -> str:
    """A character that stands in none of them."""
    for mark in MARKS:
        if not any(mark in text for text in texts):
            return mark
    raise InputError(
        "The text holds every one of the 32 characters that Unicode keeps out of texts "
        "(U+FDD0 to U+FDEF): remove one."
    )


def _cut(tokenizer: PreTrainedTokenizerBase, text: str, mark: str) -> str:
    """The text with a mark behind the first character of every special token in it."""
    written = _specials(tokenizer).written
    while written.search(text):  # again: a cut may leave another one behind it
        text = written.sub(lambda found: f"{found[0][0]}{mark}{found[0][1:]}", text)
    return text


def _encoded(tokenizer: PreTrainedTokenizerBase, text: str, mark: str) -> list[int]:
    """Token ids of a text whose parts between marks are encoded alone.

    Raises:
        InputError: a special token came out that no template wrote.
    """
    specials = _specials(tokenizer)
    first, *others = text.split(mark)
    ids = list(tokenizer.encode(first, add_special_tokens=False))
    newline = list(tokenizer.encode("\n", add_special_tokens=False)) if others else []
    for part in filter(None, others):
        # Behind a line break, since some tokenizers put a space before what a text begins with.
        after = list(tokenizer.encode(f"\n{part}", add_special_tokens=False))
        if after[: len(newline)] == newline:
            ids += after[len(newline) :]
        else:
            ids += tokenizer.encode(part, add_special_tokens=False)
    written = sum(len(specials.written.findall(part)) for part in (first, *others))
    if sum(token in specials.ids for token in ids) > written:
        raise InputError(
            "The text holds a special token of this model in a spelling that cannot be read as "
            "plain text: remove what stands in brackets such as <|…|>."
        )
    return ids


def _specials(tokenizer: PreTrainedTokenizerBase) -> _Specials:
    """Found once for a tokenizer and kept with it: some have thousands of added tokens."""
    known_by = (len(tokenizer), _template(tokenizer))
    kept = vars(tokenizer).get(PLACE)
    if isinstance(kept, _Specials) and kept.known_by == known_by:
        return kept
    tokens = set(_special_tokens(tokenizer, known_by[1] or ""))
    longest_first = sorted(tokens, key=lambda token: (-len(token), token))
    pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")  # (?!): never found
    converted = tokenizer.convert_tokens_to_ids(list(tokens))
    ids = set(converted if isinstance(converted, list) else [converted])
    found = _Specials(known_by, pattern, frozenset(ids - {tokenizer.unk_token_id}))
    vars(tokenizer)[PLACE] = found
    return found


def _special_tokens(tokenizer: PreTrainedTokenizerBase, template: str) -> Iterable[str]:
    """Those that the tokenizer calls special, and added ones in brackets that the template writes:
    some models mark turns with tokens that are not called special.

    A word or a sign that somebody made the padding token is in every text; it stays what it is.
    """
    named = set(tokenizer.all_special_tokens)
    for token in tokenizer.added_tokens_decoder.values():
        if token.special:
            named.add(token.content)
        elif IN_BRACKETS.fullmatch(token.content) and token.content in template:
            named.add(token.content)
    return (token for token in named if len(token) > 1 and not token.isalnum())


def _template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """The chat template as text; a tokenizer may have several by name."""
    template = tokenizer.chat_template
    return "\n".join(map(str, template.values())) if isinstance(template, dict) else template


def end_tokens_in(
    settings: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase
) -> list[int]:
    """The end tokens of generation settings, and the tokenizer's: many models that were fine-tuned
    for chats list only the former, which their base model had."""
    end = getattr(settings, "eos_token_id", None)
    listed = end if isinstance(end, (list, tuple)) else [end]
    found = dict.fromkeys([*listed, tokenizer.eos_token_id])
    return [token for token in found if token is not None]


def end_where_a_turn_begins(
    settings: GenerationConfig | None, tokenizer: PreTrainedTokenizerBase
) -> None:
    """Where the start token marks every turn of the chat format (SmolLM2's <|im_start|>), a model
    that writes it has ended its answer: add it to the end tokens of the generation settings, which
    transformers reads too, and exports take along."""
    start, template = tokenizer.bos_token, tokenizer.chat_template
    if settings is None or not start or not isinstance(template, str) or start not in template:
        return
    known = [*end_tokens_in(settings, tokenizer), tokenizer.bos_token_id]
    settings.eos_token_id = list(dict.fromkeys(known))
