"""Several prompts that the base model has read in one row, up to their tails (scope "answer").

One reading serves every mixture: what follows the heads, the tails and the options, is scored for a
whole population behind it. Knows token ids, nothing about text or experts.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from t2ui.models.batch_cache import attention_layers
from t2ui.models.questions import Packed, Question, attention_pattern, pack, shared_length
from t2ui.models.running import BaseReading, answering, cached

if TYPE_CHECKING:
    from transformers import DynamicCache, PreTrainedModel


@dataclass(frozen=True)
class ReadPrompts:
    """The prompts' heads: what of them lies before their tails."""

    # of each layer, keys and values, (1, heads, S, width)
    layers: tuple[tuple[Tensor, Tensor], ...]
    positions: list[int]  # (S,)
    seen: Tensor  # (questions, S) bool: which columns belong to which question

    def cache(self, copies: int) -> "DynamicCache":
        """A cache of so many equal rows."""
        from transformers import DynamicCache

        cache = DynamicCache()
        for number, (keys, values) in enumerate(self.layers):
            shape = (copies, -1, -1, -1)
            cache.update(keys.expand(*shape), values.expand(*shape), number)
        return cache


def read_prompts(
    model: "PreTrainedModel", questions: Sequence[Question], reading: BaseReading
) -> ReadPrompts:
    """Let the base model read the heads of the questions' prompts, in one row."""
    from transformers import DynamicCache

    heads = [Question(question.prompt[: -reading.tail], ()) for question in questions]
    row = pack(heads)
    cache, device = DynamicCache(), model.device
    if row.ids:
        positions = torch.tensor([row.positions])
        with torch.no_grad(), reading.base(), answering(model):
            model(
                input_ids=torch.tensor([row.ids], device=device),
                position_ids=positions.to(device),
                attention_mask=attention_pattern(model, row.allowed[None], positions, positions),
                **cached(model, cache),
                use_cache=True,
                logits_to_keep=1,
            )
    layers = tuple((keys, values) for _, keys, values in attention_layers(cache))
    seen = torch.zeros(len(heads), len(row.ids), dtype=torch.bool)
    shared = end = shared_length([head.prompt for head in heads])
    seen[:, :shared] = True
    for number, head in enumerate(heads):  # as `pack` lays them
        begin, end = end, end + len(head.prompt) - shared
        seen[number, begin:end] = True
    return ReadPrompts(layers, row.positions, seen)


def own_questions(questions: Sequence[Question], tail: int) -> list[Question]:
    """What is left of the questions behind their prompts' heads."""
    return [Question(question.prompt[-tail:], question.options) for question in questions]


def behind(questions: Sequence[Question], read: ReadPrompts, tail: int) -> Packed:
    """Tails and options of the questions in one row behind their heads; `allowed` is (T, S + T)."""
    parts = [pack([own]) for own in own_questions(questions, tail)]
    before, size = len(read.positions), sum(len(part.ids) for part in parts)
    allowed = torch.zeros(size, before + size, dtype=torch.bool)
    ids: list[int] = []
    positions: list[int] = []
    predicting = []
    for question, part, seen in zip(questions, parts, read.seen, strict=True):
        first, last = len(ids), len(ids) + len(part.ids)
        allowed[first:last, :before] = seen
        allowed[first:last, before + first : before + last] = part.allowed
        head = max(len(question.prompt) - tail, 0)
        ids += part.ids
        positions += [head + position for position in part.positions]
        predicting.append([[first + c for c in option] for option in part.predicting[0]])
    return Packed(ids, positions, allowed, predicting)
