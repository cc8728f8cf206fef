"""What an expert or a mixture did to the singular values, as plain arrays for the Inspect page.

Pure functions of the model's factors and of mixed scales z. Knows no requests, text or plots.
"""

import time
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from t2ui.errors import InputError, quoted
from t2ui.messages import ComponentData, HeatmapData
from t2ui.svf.decomposition import Factors, captured_variance, kind_of, layer_of, leaf_of

MAX_COLUMNS = 640  # a wider heatmap is binned: no screen shows more
TOP = 10


def heatmap(
    factors: Mapping[str, Factors],
    z: Mapping[str, Tensor],  # name -> (r,) float32; a missing matrix has z = 1
    module: str = "all",
) -> HeatmapData:
    """z − 1 of the chosen matrices, ordered by layer, then as in the model.

    Args:
        module: "all", a kind ("attention", "mlp") or a matrix's own name ("up_proj").

    Raises:
        InputError: the model has no such module; lists those it has.
    """
    began = time.perf_counter()
    names = [n for n in factors if module in ("all", kind_of(n), leaf_of(n))]
    if not names:
        words = [*map(kind_of, factors), *map(leaf_of, factors)]
        known = dict.fromkeys(word for word in words if word)
        raise InputError(f"There is no module {quoted(module)}; expected all, {', '.join(known)}.")
    names.sort(key=layer_of)  # stable: within a layer the model's order stays
    widths = [factors[n].S.numel() for n in names]
    values = np.full((len(names), max(widths)), np.nan, dtype=np.float32)
    mean_abs = np.zeros(len(names), dtype=np.float32)
    for row, (name, width) in enumerate(zip(names, widths, strict=True)):
        change = (_scales(factors, z, name) - 1).numpy()
        values[row, :width] = change
        mean_abs[row] = np.abs(change).mean()
    values, bin_size = _binned(values)
    return HeatmapData(
        names=tuple(names),
        layers=tuple(map(layer_of, names)),
        values=values,
        bin_size=bin_size,
        mean_abs=mean_abs,
        seconds=time.perf_counter() - began,
    )


def component(factors: Mapping[str, Factors], z: Mapping[str, Tensor], name: str) -> ComponentData:
    """One matrix: σ, z, and the captured variance of σ and of σ ⊙ |z| (paper, Appendix C).

    Raises:
        InputError: the model has no adapted matrix of this full name.
    """
    if name not in factors:
        raise InputError(
            f"There is no adapted matrix {quoted(name)}; expected a full name such as "
            f"{next(iter(factors))}."
        )
    U, S, Vh = factors[name]
    S = S.cpu().clone()  # the event must not share memory with the model
    scale = _scales(factors, z, name)
    largest = (scale - 1).abs().argsort(descending=True, stable=True)
    return ComponentData(
        name=name,
        layer=layer_of(name),
        shape=(U.shape[0], Vh.shape[1]),
        sigma=S.numpy(),
        z=scale.numpy(),
        captured=captured_variance(S).numpy(),
        captured_adapted=captured_variance(S * scale.abs()).numpy(),
        top=tuple(largest[:TOP].tolist()),
    )


def _scales(factors: Mapping[str, Factors], z: Mapping[str, Tensor], name: str) -> Tensor:
    """z of one matrix, (r,) float32 on the CPU, a copy."""
    if name not in z:
        return torch.ones(factors[name].S.numel())
    return z[name].detach().to("cpu", torch.float32, copy=True)


def _binned(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Means over bins of neighbouring columns where there are more than MAX_COLUMNS; a bin's size.

    NaN, which stands past a row's end, does not count; a bin of NaN alone stays NaN.
    """
    rows, columns = values.shape
    size = -(-columns // MAX_COLUMNS)
    if size == 1:
        return values, 1
    padded = np.full((rows, -(-columns // size) * size), np.nan, dtype=np.float32)
    padded[:, :columns] = values
    bins = padded.reshape(rows, -1, size)
    counted = np.isfinite(bins).sum(axis=2)
    sums = np.nansum(bins, axis=2)
    means = np.full(sums.shape, np.nan, dtype=np.float32)
    np.divide(sums, counted, out=means, where=counted > 0)
    return means, size
