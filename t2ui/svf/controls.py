"""Controls of an expert: scales that are like its own and should do nothing of what it does.

If a control answers as well as the expert, the gain is not in what was trained: a control keeps
the directions and takes their values away. (The paper shuffles z where it moves experts to another
model, table 3.)
"""

from collections.abc import Callable

import torch
from torch import Tensor

from t2ui.svf.adapter import Scales


def shuffled(scales: Scales, seed: int = 0) -> dict[str, Tensor]:
    """The same z, (r,) each, in another order within every matrix."""
    return _each(scales, seed, lambda z, random: z[torch.randperm(len(z), generator=random)])


def random_like(scales: Scales, seed: int = 0) -> dict[str, Tensor]:
    """Random z: in every matrix as far from 1, by the root mean square, as the expert's."""

    def drawn(z: Tensor, random: torch.Generator) -> Tensor:
        noise = torch.randn(len(z), generator=random)
        far = (z - 1).float().square().mean().sqrt()
        return (1 + noise * far / noise.square().mean().sqrt().clamp(min=1e-12)).to(z.dtype)

    return _each(scales, seed, drawn)


def _each(
    scales: Scales, seed: int, changed: Callable[[Tensor, torch.Generator], Tensor]
) -> dict[str, Tensor]:
    """By matrix, in the order of their names: the same numbers whoever asks."""
    random = torch.Generator().manual_seed(seed)
    return {
        name: changed(scales[name].cpu(), random).to(scales[name].device) for name in sorted(scales)
    }
