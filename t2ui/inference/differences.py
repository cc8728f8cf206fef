"""Where answers part, counted in tokens, and the text that each token adds."""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerBase

from t2ui.inference.rows import text_of


def parting(answers: Sequence[Sequence[int]]) -> int | None:
    """Place of the first token that is not the same in all answers; None for equal ones."""
    first, *others = answers
    found = [place for one in others if (place := first_difference(first, one)) is not None]
    return min(found, default=None)


def first_difference(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Index of the first token that differs; where one answer goes on, its first token beyond."""
    for i, (left, right) in enumerate(zip(a, b, strict=False)):
        if left != right:
            return i
    return None if len(a) == len(b) else min(len(a), len(b))


def token_texts(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; joined, the text of all of them.

    A token that ends inside a character adds "", and the character comes with its last token.
    """
    texts: list[str] = []
    context = done = 0  # ids before `done` are in `texts`; those from `context` are decoded again,
    for i in range(len(ids)):  # because some tokenizers drop a leading space without them
        so_far = text_of(tokenizer, ids[context:done])
        text = text_of(tokenizer, ids[context : i + 1])
        if text.endswith("\ufffd") and i + 1 < len(ids):
            texts.append("")
        elif i + 1 == len(ids):  # half a character at the length limit is in no answer's text
            texts.append(text[len(so_far) :].rstrip("\ufffd"))
        else:
            texts.append(text[len(so_far) :])
            context, done = done, i + 1
    return texts
