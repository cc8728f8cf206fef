"""Products with few rows both ways around, by rows and shape: `python -m benchmarks.products`

x Wᵀ as torch makes it, beside (W xᵀ)ᵀ, in float32. A whole model's worth of matrices of a shape, so
that they come from memory; the least of some rounds in turn.
"""

import argparse
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.common import describe_machine

SHAPES = ((576, 576, 30), (1536, 576, 30), (576, 1536, 30), (49152, 576, 1), (4096, 4096, 2))
ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


def seconds(way: Callable[[], object]) -> float:
    began = time.perf_counter()
    way()
    return time.perf_counter() - began


def turned(x: Tensor, weight: Tensor) -> Tensor:
    return (weight @ x.T).T.contiguous()


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    describe_machine()
    for out, width, count in SHAPES:
        matrices = [torch.randn(out, width) for _ in range(count)]
        shown = []
        for rows in ROWS:
            x = torch.randn(rows, width)
            ways = (
                lambda x=x, matrices=matrices: [F.linear(x, one) for one in matrices],
                lambda x=x, matrices=matrices: [turned(x, one) for one in matrices],
            )
            found = [[seconds(way) for way in ways] for _ in range(options.rounds + 1)][1:]
            plain, other = (min(round_[place] for round_ in found) for place in (0, 1))
            shown.append(f"{rows}: {plain / other:.2f}")
        print(f"{out} × {width}, times as fast by rows: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    main()
