"""Which dtype a model answers faster in on this machine's CPU: measured, in tens of milliseconds.

Processors differ, and so do the kinds of work: without bfloat16 instructions a processor can
decode one answer twice as fast in bfloat16, which halves what it reads of memory, and read a
prompt five times slower. Knows shapes, nothing of models or answers.
"""

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from t2ui.products import linear

# In bfloat16 an answer can be another one alone than beside others, where two tokens are nearly
# equal (`benchmarks.dtype_answers` counts how often): float32 is left only for a gain that shows.
BFLOAT16_FROM = 1.5
# (rows, tokens of each): a decode step of an answer beside the base model's, one of a class, and a
# piece of a prompt
WORK = ((2, 1), (16, 1), (1, 64))
NUMBERS = 6_000_000  # of the matrices in all: more than most caches hold, and soon read
ROUNDS = 5


@torch.inference_mode()
def bfloat16_speed(shapes: Sequence[tuple[int, int]]) -> float:
    """How many times as fast as in float32 a pass through such matrices is in bfloat16, at least:
    the least of all kinds of work and of several rounds, since other work may slow either down.

    Measures no further once the gain is below what would be taken.

    Args:
        shapes: (out, in) of a block's matrices.
    """
    blocks = max(1, NUMBERS // sum(out * width for out, width in shapes))
    matrices = [torch.full(shape, 0.01) for _ in range(blocks) for shape in shapes]
    least = float("inf")
    for rows, tokens in WORK:
        inputs = [torch.full((rows, tokens, width), 0.5) for _, width in shapes]
        both = [_Passes(matrices, inputs, dtype) for dtype in (torch.float32, torch.bfloat16)]
        for number in range(ROUNDS + 1):
            single, half = (passes.seconds() for passes in both)
            if number:  # in the first, threads start and kernels are chosen
                least = min(least, single / half)
            if least < BFLOAT16_FROM:
                return least
    return least


class _Passes:
    """A pass through some matrices in one dtype, as often as it is asked for."""

    def __init__(
        self, matrices: Sequence[Tensor], inputs: Sequence[Tensor], dtype: torch.dtype
    ) -> None:
        self._matrices = [matrix.to(dtype) for matrix in matrices]
        self._inputs = [x.to(dtype) for x in inputs]

    def seconds(self) -> float:
        """Of one pass."""
        began = time.perf_counter()
        for place, matrix in enumerate(self._matrices):
            linear(self._inputs[place % len(self._inputs)], matrix)
        return time.perf_counter() - began
