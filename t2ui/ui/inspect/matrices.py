"""What the Inspect page's panels show, from the worker's arrays. Plain data; knows no gradio."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from t2ui.figures import heatmap as heatmaps
from t2ui.figures import singular_values as figures
from t2ui.messages import ComponentData, HeatmapData
from t2ui.ui.inspect.rows import by_kind, caption, label, rows_of

TOP = 10
UNCHANGED = 5e-5  # of z: what is said to be left as it is


def no_plot(state: str, message: str = "", remedy: str = "") -> dict[str, Any]:
    """A plot panel without a plot: `state` is empty, waiting or failed."""
    return {
        "state": state,
        "message": message,
        "remedy": remedy,
        "figure": "",
        "what": "",
        "rows": "matrix",
        "names": [],
        "labels": [],
        "caption": "",
        "title": "",
        "facts": "",
        "top": [],
        "top_coloured": False,
        "file": "t2ui",
        "name": "",
    }


def heatmap_view(
    data: HeatmapData, quantity: heatmaps.Quantity, what: str, file: str
) -> dict[str, Any]:
    """The heatmap panel's value. `what` says in a sentence what is drawn."""
    data = by_kind(data)
    rows = rows_of(data)
    grouped = data.rows != "matrix"
    shown = replace(quantity, magnitude=grouped)
    figure = heatmaps.heatmap(data.values, rows, data.mean_abs, data.bin_size, shown, data.signed)
    mean = percent(float(data.mean_abs.mean()))
    amount = f"mean change {mean}" if quantity.name == "z − 1" else f"mean |{quantity.name}| {mean}"
    return {
        **no_plot("done"),
        "figure": figure.to_json(),
        "what": what,
        "rows": data.rows,
        "names": list(data.names),
        "labels": list(rows.names),
        "caption": caption(data, amount),
        "file": file,
    }


def percent(share: float) -> str:
    """A magnitude in percent, with two significant digits where it is small."""
    value = 100 * abs(share)
    return f"{value:.0f} %" if value >= 10 else f"{value:.2g} %"


def in_words(z: float) -> str:
    """What a scale does to its component: "turned up by 12 %"."""
    if z < 0:
        return f"turned around, × {abs(z):.2f}".replace("-", "−")
    if abs(z - 1) < UNCHANGED:
        return "left as it is"
    return f"turned {'up' if z > 1 else 'down'} by {percent(z - 1)}"


def short(z: float) -> str:
    """The same with an arrow, where two stand beside each other."""
    if abs(z - 1) < UNCHANGED:
        return "as it is"
    return f"× {z:.2f}".replace("-", "−") if z < 0 else f"{'↑' if z > 1 else '↓'} {percent(z - 1)}"


def component_view(
    series: Sequence[tuple[str, str, ComponentData]], log: bool, file: str
) -> dict[str, Any]:
    """The component panel's value for one or two (name, colour, data) on the same matrix."""
    first = series[0][2]
    figure = figures.component(
        first.sigma,
        first.captured,
        [figures.Series(n, colour, d.z, d.captured_adapted) for n, colour, d in series],
        log,
        key=f"{first.name}|{log}",
    )
    changes = np.max([np.abs(data.z - 1) for _, _, data in series], axis=0)
    top = first.top if len(series) == 1 else np.argsort(-changes, kind="stable")[:TOP]
    rank = len(first.sigma)
    half = int(np.searchsorted(first.captured, 0.5)) + 1
    means = [(name, percent(float(np.abs(data.z - 1).mean()))) for name, _, data in series]
    mean = means[0][1] if len(means) == 1 else ", ".join(f"{name} {m}" for name, m in means)
    return {
        **no_plot("done"),
        "figure": figure.to_json(),
        "name": first.name,
        "title": label(first.name, first.layer),
        "facts": f"{first.shape[0]} × {first.shape[1]}, {rank} components · the first {half} hold "
        f"half of Σσ · mean change {mean}",
        "top_coloured": len(series) > 1,
        "top": [_change(int(i), series) for i in top],
        "file": file,
    }


def _change(i: int, series: Sequence[tuple[str, str, ComponentData]]) -> dict[str, Any]:
    """Component i in words, short ones where two stand beside each other."""
    words = in_words if len(series) == 1 else short
    of_each = [f"{name}: z = {d.z[i]:.3f}, {in_words(float(d.z[i]))}" for name, _, d in series]
    return {
        "index": i,
        "hint": f"component {i}: σ = {series[0][2].sigma[i]:.3g}; {'; '.join(of_each)}",
        "words": [
            {"text": words(float(d.z[i])), "turned": turned(float(d.z[i])), "colour": colour}
            for _, colour, d in series
        ],
    }


def turned(z: float) -> str:
    return "" if abs(z - 1) < UNCHANGED else "up" if z > 1 else "down"


def heatmap_csv(data: HeatmapData) -> str:
    """One line a matrix: name, layer, mean |value|, then its values (empty past its end)."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    index = [i * data.bin_size for i in range(data.values.shape[1])]
    writer.writerow(["matrix", "layer", "mean_abs", *index])
    for name, layer, mean, row in zip(
        data.names, data.layers, data.mean_abs, data.values, strict=True
    ):
        cells = ["" if np.isnan(value) else f"{value:.7g}" for value in row]
        writer.writerow([name, layer, f"{mean:.7g}", *cells])
    return out.getvalue()


def component_csv(series: Sequence[tuple[str, str, ComponentData]]) -> str:
    """One line a component: σ, captured variance, and for each series z, σ·z, its captured."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    heads = [f"{what}_{name}" for name, _, _ in series for what in ("z", "sigma_z", "captured")]
    writer.writerow(["component", "sigma", "captured_base", *heads])
    first = series[0][2]
    for i, sigma in enumerate(first.sigma):
        cells = [
            value for _, _, d in series for value in (d.z[i], sigma * d.z[i], d.captured_adapted[i])
        ]
        writer.writerow([i, *(f"{value:.7g}" for value in (sigma, first.captured[i], *cells))])
    return out.getvalue()
