"""x Wᵀ + b, as a decode step needs it: few rows, and a large matrix."""

import torch
import torch.nn.functional as F
from torch import Tensor

# Rows up to which a CPU's float32 product is faster the other way around: by 1.3 to 2.9 times with
# 2 to 4 rows, by 1.0 to 1.6 with 8 to 32, and by 2.6 to 3.4 where the matrix is 4096 × 4096
# (`benchmarks.products` on two AVX2 cores of an AMD EPYC, torch 2.13; bfloat16 gains nothing).
FEW_ROWS = 32


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`torch.nn.functional.linear`, equal to rounding: (…, in), (out, in), (out,) -> (…, out).

    With few rows in float32 on a CPU as (W xᵀ)ᵀ: the library behind torch otherwise divides the
    work by rows, of which there are too few.
    """
    rows = x.numel() // x.shape[-1]
    few = 1 < rows <= FEW_ROWS and x.dtype == torch.float32 and x.device.type == "cpu"
    if not few or weight.dtype != torch.float32:
        return F.linear(x, weight, bias)
    columns = x.reshape(rows, -1).T
    if bias is None:
        found = weight @ columns
    else:
        found = torch.addmm(bias.unsqueeze(1), weight, columns)
    return found.T.contiguous().view(*x.shape[:-1], len(weight))
