"""Picks the next token of every row of a batch from its logits.

On an accelerator the host has to wait for what it reads back: here once in a step, for all rows
together. Knows logits and sampling settings.
"""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from t2ui.config import Sampling

# A larger logit divided by the least temperature leaves float32.
LARGEST_LOGIT = 1e30


class Choice(NamedTuple):
    """A row's next token."""

    token: int | None  # None: its logits are not finite
    log_likelihood: float | None = None  # nats; None unless it was asked for


def choose(
    logits: Tensor,  # (B, V)
    samplings: Sequence[Sampling],
    random: Sequence[torch.Generator],
    scores: bool = False,
) -> list[Choice]:
    """The next token of each row.

    Args:
        samplings, random: of each row; the generators are on the CPU.
        scores: whether the tokens' log-likelihoods are wanted.
    """
    if any(s.temperature for s in samplings):
        # Drawn on the CPU in float32, so that a seed gives the same tokens on every device.
        logits = logits.float().cpu()
    # NaN and infinity show in the largest; they end their own row, not the batch. Float32 holds
    # token ids exactly, up to 2^24.
    found = [logits.amax(-1), logits.argmax(-1)]
    if scores:
        found.append(logits.float().log_softmax(-1).amax(-1))
    largest, tokens, *rest = torch.stack([one.float() for one in found]).tolist()
    likely = rest[0] if scores else [None] * len(tokens)
    choices = [
        Choice(int(token), score) if abs(top) < LARGEST_LOGIT else Choice(None)
        for top, token, score in zip(largest, tokens, likely, strict=True)
    ]
    sampled = [i for i, s in enumerate(samplings) if s.temperature and choices[i].token is not None]
    if sampled:
        own = logits[sampled]
        drawn = _drawn(own, [samplings[i] for i in sampled], [random[i] for i in sampled])
        log_likely = own.log_softmax(-1).gather(1, drawn[:, None])[:, 0].tolist() if scores else ()
        for place, (i, token) in enumerate(zip(sampled, drawn.tolist(), strict=True)):
            choices[i] = Choice(token, log_likely[place] if scores else None)
    return choices


def _drawn(
    logits: Tensor,  # (B, V) float32
    samplings: Sequence[Sampling],
    random: Sequence[torch.Generator],
) -> Tensor:  # (B,)
    """A token of each row, drawn with its own random numbers."""
    drawn = torch.empty(len(samplings), dtype=torch.long)
    alike: dict[tuple, list[int]] = {}
    for i, s in enumerate(samplings):
        alike.setdefault((s.temperature, s.top_k, s.top_p), []).append(i)
    # None of the warpers reads the tokens before: they get none.
    before = cast(torch.LongTensor, torch.zeros(1, 0, dtype=torch.long))
    for rows in alike.values():
        warped = _warpers(samplings[rows[0]])(before, cast(torch.FloatTensor, logits[rows]))
        for i, probabilities in zip(rows, warped.softmax(-1), strict=True):
            drawn[i] = _one_of(probabilities, random[i])
    return drawn


def _one_of(probabilities: Tensor, random: torch.Generator) -> Tensor:  # (V,) -> ()
    """A token by inverse transform sampling: one random number, where `torch.multinomial` draws
    one for each token of the vocabulary."""
    below = probabilities.cumsum(0)
    place = torch.rand((), generator=random) * below[-1]
    # Rounding may not take it to the sum itself, behind which there is no token.
    place = torch.minimum(place, below[-1].nextafter(torch.zeros(())))
    return torch.searchsorted(below, place, right=True)


def _warpers(sampling: Sampling) -> LogitsProcessorList:
    warpers = LogitsProcessorList()
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(float(sampling.temperature)))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    return warpers
