"""Names of the rows of a heatmap, and what its caption says of them. Plain data, no gradio."""

from collections.abc import Iterable, Sequence
from dataclasses import replace

from t2ui.figures.heatmap import Rows
from t2ui.messages import HeatmapData


def short(part: str) -> str:
    """A kind of matrix by the name that papers give it: "up" of "mlp.up_proj"."""
    return part.rsplit(".", 1)[-1].removesuffix("_proj")


def part_of(name: str, layer: int) -> str:
    """What follows the layer in a full name: "mlp.up_proj" of "model.layers.3.mlp.up_proj"."""
    return name.split(f".{layer}.", 1)[-1]


def kinds(parts: Iterable[str]) -> dict[str, str]:
    """A name for each kind of matrix, in the order given: short, unless two were the same then."""
    found = dict.fromkeys(parts)
    several = [short(part) for part in found]
    return {part: short(part) if several.count(short(part)) == 1 else part for part in found}


def label(name: str, layer: int) -> str:
    """A matrix in words: "layer 3 · up"."""
    return f"layer {layer} · {short(name)}"


def by_kind(data: HeatmapData) -> HeatmapData:
    """The rows of matrices anew: those of one kind stand together, in the order of their layers."""
    if data.rows != "matrix":
        return data
    parts = [part_of(name, layer) for name, layer in zip(data.names, data.layers, strict=True)]
    place = {part: at for at, part in enumerate(dict.fromkeys(parts))}
    order = sorted(range(len(parts)), key=lambda row: place[parts[row]])
    return replace(
        data,
        names=tuple(data.names[row] for row in order),
        layers=tuple(data.layers[row] for row in order),
        values=data.values[order],
        mean_abs=data.mean_abs[order],
    )


def rows_of(data: HeatmapData) -> Rows:
    """What stands beside the rows: the layer where they are of one kind, the kind where they are
    of one layer, else both."""
    if data.rows == "layer":
        return Rows([f"layer {name}" for name in data.names], list(data.names), title="layer")
    if data.rows == "kind":
        each = [kinds(data.names)[name] for name in data.names]
        return Rows(each, each, title="kind of matrix")
    parts = [part_of(name, layer) for name, layer in zip(data.names, data.layers, strict=True)]
    named = kinds(parts)
    full = [f"layer {at} · {named[part]}" for at, part in zip(data.layers, parts, strict=True)]
    layers = [str(layer) for layer in data.layers]
    if len(named) == 1:
        return Rows(full, layers, title=f"layer of {next(iter(named.values()))}")
    if len(set(layers)) == 1:
        return Rows(full, [named[part] for part in parts], title=f"layer {layers[0]}")
    return Rows(full, layers, [named[part] for part in parts], title="kind and layer")


def caption(data: HeatmapData, mean: str) -> str:
    """What a row and a cell is, how much is changed on average, and what a click does."""
    count = len(data.names)
    each = "the mean of" if data.rows != "matrix" else "each column the mean of"
    cells = f", {each} {data.bin_size} components" if data.bin_size > 1 else ""
    if data.rows == "matrix":
        several = "1 matrix" if count == 1 else f"{count} matrices, one a row"
        ordered = "" if len(rows_of(data).blocks) == 0 else " by kind and layer"
        return f"{several}{ordered}{cells} · {mean} · click a row to open it"
    of = sorted({len(members) for members in data.members})
    many = f"{of[0]}" if len(of) == 1 else f"{of[0]} to {of[-1]}"
    if data.rows == "layer":
        rows, group = f"{count} rows, one a layer", f"{many} matrices ({_list(data)})"
    else:
        rows, group = f"{count} rows, one a kind of matrix", f"{many} layers"
    cell = f"each cell the mean of {group}"
    if data.bin_size > 1:
        cell += f" × {data.bin_size} components"
    return f"{rows}, {cell} · {mean} · click a row to see its matrices"


def _list(data: HeatmapData) -> str:
    """The kinds of matrix that rows of layers stand for: "q, k, v, o"."""
    parts = [
        part_of(name, layer)
        for layer, members in zip(data.layers, data.members, strict=True)
        for name in members
    ]
    return shortened(list(kinds(parts).values()))


def shortened(names: Sequence[str], most: int = 8) -> str:
    """A list of at most so many names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
