"""Where an answer that was replayed is another one than its receipt says.

In 16 bits two tokens can be so near that the batch around an answer decides between them: then the
first token that differs and the gap between both tells more than that they differ.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from t2ui.config import Sampling
from t2ui.inference.decoding import PIECE_TOKENS
from t2ui.inference.differences import first_difference
from t2ui.inference.reading import Reading
from t2ui.inference.rows import Row, RunningRow, text_of
from t2ui.models.chat import answer_tail
from t2ui.svf.adapter import Adapter


@dataclass(frozen=True)
class Difference:
    """The first token of a replayed answer that is not its receipt's; `str` says it."""

    place: int  # in the answer, from 0
    recorded: str  # the token's text
    replayed: str
    gap: float | None  # logit of the replayed one minus the recorded one's; None: α was steered

    def __str__(self) -> str:
        gap = "" if self.gap is None else f", whose logits are {abs(self.gap):.4g} apart"
        return (
            f"The replayed answer differs from token {self.place + 1} on: {self.replayed!r} in "
            f"place of {self.recorded!r}{gap}."
        )


def parted(recorded: Sequence[int], replayed: Sequence[int]) -> int | None:
    """Place of the first token that differs; None where all that was recorded is there again. An
    answer that was stopped is one that is shorter.

    Args:
        recorded: without an end token.
        replayed: with it, as `TwoPassResult.token_ids`.
    """
    both = min(len(recorded), len(replayed))
    return first_difference(recorded[:both], replayed[:both])


@torch.inference_mode()
def said_difference(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    adapter: Adapter,
    answer: tuple[list[int], Sequence[int], Sequence[int]],  # prompt, recorded, replayed tokens
    place: int,
    scales: Mapping[str, Tensor] | None,  # None: they changed on the way
    scope: str,
) -> Difference:
    """The difference at the place where two answers part, with its gap, read anew in one row."""
    prompt, recorded, replayed = answer
    before, now = recorded[place], replayed[place]
    gap = None
    if scales is not None:
        tail = answer_tail(tokenizer) if scope == "answer" else None
        longest = Sampling(max_new_tokens=place + 1)
        row = Row(0, prompt, scales, longest, tail, recorded[:place])
        reading = Reading(model, adapter, [RunningRow(row, tokenizer)])
        while not reading.ended:
            reading.read(PIECE_TOKENS)
        logits = reading.predictions[-1].float()
        gap = float(logits[now] - logits[before])
    texts = [text_of(tokenizer, [token], special=True) for token in (before, now)]
    return Difference(place, texts[0], texts[1], gap)
