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
from t2ui.svf.components import matrices
from t2ui.svf.decomposition import Factors, captured_variance, layer_of

MAX_COLUMNS = 640  # a wider heatmap is binned: no screen shows more
GROUP_COLUMNS = 48  # of rows that stand for several matrices: wide enough to be told apart
FEW = 40  # matrices that each have a row, whatever was asked for: there is room for their names
ROWS = ("matrix", "layer", "kind")
TOP = 10


def heatmap(
    factors: Mapping[str, Factors],
    z: Mapping[str, Tensor],  # name -> (r,) float32; a missing matrix has z = 1
    module: str = "all",
    minus: Mapping[str, Tensor] | None = None,  # as z; by default the base model's, 1
    layer: int | None = None,
    rows: str = "matrix",
) -> HeatmapData:
    """z − minus of the chosen matrices, ordered by layer, then as in the model.

    Args:
        module: "all", a kind ("attention", "mlp") or a matrix's own name ("up_proj").
        layer: a block's index; None for all.
        rows: what a row is: "matrix", or all matrices of a "layer" or of a "kind"; see HeatmapData.

    Raises:
        InputError: the model has no such module or layer, or there are no such rows.
    """
    began = time.perf_counter()
    if rows not in ROWS:
        raise InputError(f"There are no rows {quoted(rows)}; expected {', '.join(ROWS)}.")
    names = matrices(factors, module, layer)
    other = minus or {}
    changes = {n: (_scales(factors, z, n) - _scales(factors, other, n)).numpy() for n in names}
    groups = _groups(names, rows)
    if groups is None:
        values, bin_size = _binned(_padded(list(changes.values())))
        return HeatmapData(
            names=tuple(names),
            layers=tuple(map(layer_of, names)),
            values=values,
            bin_size=bin_size,
            mean_abs=np.array([np.abs(c).mean() for c in changes.values()], dtype=np.float32),
            seconds=time.perf_counter() - began,
        )
    width = max(map(len, changes.values()))
    bin_size = -(-width // GROUP_COLUMNS)
    parts = [[changes[n] for n in members] for members in groups.values()]
    size = [[np.abs(change) for change in part] for part in parts]
    return HeatmapData(
        names=tuple(groups),
        layers=tuple(int(key) if rows == "layer" else -1 for key in groups),
        values=_padded([_means(part, bin_size) for part in size]),
        bin_size=bin_size,
        mean_abs=np.array([np.concatenate(part).mean() for part in size], dtype=np.float32),
        seconds=time.perf_counter() - began,
        rows=rows,
        members=tuple(map(tuple, groups.values())),
        signed=_padded([_means(part, bin_size) for part in parts]),
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


def _groups(names: list[str], rows: str) -> dict[str, list[str]] | None:
    """The matrices of each row by the row's name; None where every matrix has its own."""
    if rows == "matrix" or len(names) <= FEW:
        return None
    groups: dict[str, list[str]] = {}
    for name in names:
        layer = str(layer_of(name))
        key = layer if rows == "layer" else name.split(f".{layer}.", 1)[1]
        groups.setdefault(key, []).append(name)
    return groups if 1 < len(groups) < len(names) else None


def _padded(rows: list[np.ndarray]) -> np.ndarray:
    """Rows (r,) of several lengths as one array, NaN past their ends."""
    values = np.full((len(rows), max(map(len, rows))), np.nan, dtype=np.float32)
    for row, found in enumerate(rows):
        values[row, : len(found)] = found
    return values


def _means(
    changes: list[np.ndarray],  # (r,) each, of several lengths
    size: int,
) -> np.ndarray:
    """The mean over all of them and over bins of so many neighbours."""
    bins = -(-max(map(len, changes)) // size)
    sums, counts = np.zeros(bins), np.zeros(bins)
    for change in changes:
        place = np.arange(len(change)) // size
        sums += np.bincount(place, change, bins)
        counts += np.bincount(place, minlength=bins)
    return sums / counts


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
