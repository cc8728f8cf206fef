"""The expert that is nearest to a change of weights, and the part of it that no expert can hold.

A diagonal between U and V holds of a change ΔW only d_i = u_iᵀ ΔW v_i: the nearest scales are
z_i = 1 + d_i / σ_i, and Σ d_i² of ‖ΔW‖² is held. Knows matrices, no files.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from t2ui.svf.decomposition import Factors


@dataclass(frozen=True)
class Held:
    """What scales hold of the change of one matrix."""

    name: str
    held: float  # Σ d_i²
    change: float  # ‖ΔW‖², Frobenius, squared

    @property
    def share(self) -> float:
        """0 to 1; 1 where nothing changes."""
        return self.held / self.change if self.change else 1.0


def nearest(name: str, factors: Factors, change: "Tensor | tuple[Tensor, Tensor]") -> tuple:
    """The scales nearest to a change ΔW, in the Frobenius norm.

    Args:
        factors: of W, (out, r), (r,), (r, in).
        change: ΔW (out, in), or two thin matrices B (out, k) and A (k, in) with ΔW = B A.

    Returns:
        z (r,) float32 on the CPU, and what it holds.
    """
    U, S, Vh = (part.double() for part in factors)
    if isinstance(change, tuple):
        B, A = (part.to(U.device).double() for part in change)
        d = ((U.T @ B) * (Vh @ A.T)).sum(1)
        total = float(((B.T @ B) * (A @ A.T)).sum())
    else:
        delta = change.to(U.device).double()
        d = ((U.T @ delta) * Vh).sum(1)
        total = float(delta.square().sum())
    # A singular value that is zero to rounding scales nothing, whatever its z.
    alive = S > S[0] * max(U.shape[0], Vh.shape[1]) * torch.finfo(torch.float32).eps
    d = torch.where(alive, d, torch.zeros_like(d))
    z = torch.where(alive, 1 + d / S.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return z.float().cpu(), Held(name, float(d.square().sum()), total)
