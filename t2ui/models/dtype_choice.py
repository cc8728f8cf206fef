"""Which dtype a model decodes faster in on this machine's CPU: measured, in tens of milliseconds.

Processors differ: bfloat16 has been half as fast as float32, and twice as fast. Knows shapes,
nothing of models or answers.
"""

import time
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

# In bfloat16 an answer can be another one alone than beside others, where two tokens are nearly
# equal (`benchmarks.dtype_answers` counts how often): float32 is left only for a gain that shows.
BFLOAT16_FROM = 1.5
ROWS = 2  # of a decode step that somebody watches: the base model beside a mixture
NUMBERS = 6_000_000  # of the matrices in all: more than most caches hold, and soon read
ROUNDS = 5


@torch.inference_mode()
def bfloat16_speed(shapes: Sequence[tuple[int, int]]) -> float:
    """How many times as fast as in float32 a decode step through such matrices is in bfloat16, at
    least: the least of several rounds, since other work may slow either down.

    Args:
        shapes: (out, in) of a block's matrices.
    """
    blocks = max(1, NUMBERS // sum(out * width for out, width in shapes))
    matrices = [torch.full(shape, 0.01) for _ in range(blocks) for shape in shapes]
    both = [_Passes(matrices, shapes, dtype) for dtype in (torch.float32, torch.bfloat16)]
    rounds = [[passes.seconds() for passes in both] for _ in range(ROUNDS + 1)]
    # in the first, threads start and kernels are chosen
    return min(single / half for single, half in rounds[1:])


class _Passes:
    """A pass through some matrices in one dtype, as often as it is asked for."""

    def __init__(
        self, matrices: Sequence[Tensor], shapes: Sequence[tuple[int, int]], dtype: torch.dtype
    ) -> None:
        self._matrices = [matrix.to(dtype) for matrix in matrices]
        self._inputs = [torch.full((ROWS, 1, width), 0.5, dtype=dtype) for _, width in shapes]

    def seconds(self) -> float:
        """Of one pass."""
        began = time.perf_counter()
        for place, matrix in enumerate(self._matrices):
            F.linear(self._inputs[place % len(self._inputs)], matrix)
        return time.perf_counter() - began
