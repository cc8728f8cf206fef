"""Questions as token ids, and how one or several lie in one row of a forward pass.

Options lie behind their prompt one after another, and an attention pattern keeps each from seeing
the others. Knows nothing about text or probabilities.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Ids = Sequence[int]


@dataclass(frozen=True)
class Question:
    """A prompt and the continuations that are compared. The ids are never re-tokenised.

    `ends`: tokens that end an answer alike. An option whose last token is one of them is as likely
    as if any of them stood there: the probabilities of all are summed.
    """

    prompt: tuple[int, ...]
    options: tuple[tuple[int, ...], ...]
    # No part of the text by which trainings under way know their questions again.
    ends: tuple[int, ...] = field(default=(), repr=False)

    @property
    def tokens(self) -> int:
        """What one forward pass over the question costs, in tokens."""
        return len(self.prompt) + sum(len(o) - 1 for o in self.options)


def question_packs(questions: Sequence[Question], tokens: int) -> list[list[int]]:
    """Places of questions that are worth a row together: neighbours in the order of their
    prompts, so that they begin alike, at most so many tokens a row (a longer one stays alone)."""
    packs: list[list[int]] = []
    for place in sorted(range(len(questions)), key=lambda i: questions[i].prompt):
        last = [*packs[-1], place] if packs else []
        if last and packed_tokens([questions[i] for i in last]) <= tokens:
            packs[-1] = last
        else:
            packs.append([place])
    return packs


def packed_tokens(questions: Sequence[Question]) -> int:
    """Tokens of these questions in one row."""
    shared = shared_length([question.prompt for question in questions])
    return shared + sum(question.tokens - shared for question in questions)


def shared_length(prompts: Sequence[Ids]) -> int:
    """How many tokens all of them begin with."""
    alike = (len(set(tokens)) == 1 for tokens in zip(*prompts, strict=False))
    return sum(itertools.takewhile(bool, alike))


@dataclass(frozen=True)
class Packed:
    """Questions in one row: what their prompts begin with, then of every question the rest of its
    prompt and its options' tails. A tail leaves out its option's last token, which is only
    predicted, never read."""

    ids: list[int]
    positions: list[int]
    allowed: Tensor  # (T, T) bool: query t may see key s
    predicting: list[list[list[int]]]  # of every question, per option: columns of the logits


def pack(questions: Sequence[Question]) -> Packed:
    shared = shared_length([question.prompt for question in questions])
    ids, positions = list(questions[0].prompt[:shared]), list(range(shared))
    size = packed_tokens(questions)
    allowed = torch.zeros(size, size, dtype=torch.bool)
    allowed[:, :shared] = True
    predicting = []
    for question in questions:
        own, start = len(ids), len(question.prompt)
        ids += question.prompt[shared:]
        positions += range(shared, start)
        tails = len(ids)
        last = tails - 1 if tails > own else shared - 1  # the prompt's last token
        columns = []
        for option in question.options:
            begin, end = len(ids), len(ids) + len(option) - 1
            ids += option[:-1]
            positions += range(start, start + len(option) - 1)
            allowed[begin:end, begin:end] = True
            columns.append([last, *range(begin, end)])
        allowed[own : len(ids), own:tails] = True
        predicting.append(columns)
    allowed &= torch.ones(size, size, dtype=torch.bool).tril()
    return Packed(ids, positions, allowed, predicting)


def attention_pattern(
    model: "PreTrainedModel",
    allowed: Tensor,  # (B, T, S) bool: query t may see key s
    queries: Tensor,  # (B, T) positions
    keys: Tensor,  # (B, S) positions
) -> Tensor | dict[str, Tensor]:
    """The pattern as transformers takes it, (B, 1, T, S); by kind of layer where a model has both.

    transformers leaves a given pattern as it is, so the sliding window has to be in it. Distances
    are between positions: options lie behind one another in a row, but each follows the prompt.
    """
    config = model.config.get_text_config()
    window = getattr(config, "sliding_window", None)
    full = _additive(allowed, model)
    if window is None:
        return full
    near = queries[:, :, None] - keys[:, None, :] < window
    sliding = _additive(allowed & near, model)
    kinds = set(getattr(config, "layer_types", None) or ["sliding_attention"])
    if len(kinds) > 1:
        return {"full_attention": full, "sliding_attention": sliding}
    return sliding if kinds == {"sliding_attention"} else full


def _additive(allowed: Tensor, model: "PreTrainedModel") -> Tensor:  # (B, T, S) -> (B, 1, T, S)
    """0 where attention is allowed, the dtype's least value elsewhere."""
    zeros = torch.zeros(allowed.shape, dtype=model.dtype)
    return zeros.masked_fill(~allowed, torch.finfo(model.dtype).min)[:, None].to(model.device)


def repeated(pattern: Tensor | dict[str, Tensor], copies: int) -> Tensor | dict[str, Tensor]:
    if isinstance(pattern, dict):
        return {kind: one.expand(copies, -1, -1, -1) for kind, one in pattern.items()}
    return pattern.expand(copies, -1, -1, -1)
