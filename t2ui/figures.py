"""Plain arrays to plotly figures. The only module that knows plotly; it knows nothing of the app.

Colours that must follow the page's theme are left out here and filled in by assets/plots.js: text,
grid, and the diverging scale of a heatmap (z − 1: neutral at 0, symmetric limits, red turned up,
blue turned down). A heatmap's values travel as int8 with a scale in the trace's `meta`, a seventh
of float64; the browser decodes them, −128 being "no component there".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly
import plotly.graph_objects as go

MISSING = -128
BASE = "#868e99"  # the base model is neutral grey everywhere


def plotly_file() -> Path:
    """The plotly.js of the installed plotly, served by the app to its own pages."""
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


def quantise(
    values: np.ndarray,  # (rows, columns) float32, NaN where there is no component
) -> tuple[np.ndarray, float]:
    """int8 codes and their scale: values ≈ codes · scale, exact at 0, MISSING for NaN."""
    limit = float(np.nanmax(np.abs(values), initial=0.0)) if np.isfinite(values).any() else 0.0
    scale = limit / 127 or 1.0
    codes = np.where(np.isfinite(values), np.round(values / scale), MISSING)
    return codes.astype(np.int8), scale


def heatmap(
    values: np.ndarray,  # (rows, columns) float32, z − 1 or a difference of two
    labels: Sequence[str],  # (rows,) shown on hover
    layers: Sequence[int],  # (rows,)
    mean_abs: np.ndarray,  # (rows,) mean |values| of each row
    bin_size: int = 1,
    title: str = "z − 1",
    key: str = "",
) -> go.Figure:
    """Rows of z − 1 by singular index, with a strip of each row's mean absolute change.

    A click on either yields the row. `key` names what is looked at: the zoom is kept while it
    stays the same.
    """
    rows, columns = values.shape
    codes, scale = quantise(values)
    limit = robust_limit(values)
    index = np.arange(columns) * bin_size
    what = "component" if bin_size == 1 else f"components from"
    figure = go.Figure()
    figure.add_heatmap(
        z=codes, x=index, y=np.arange(rows), zmin=-limit, zmax=limit, zmid=0,
        meta={"scale": scale, "role": "diverging"},
        hovertemplate="<b>%{text}</b><br>" + what + " %{x}<br>" + title + " = %{z:+.3f}<extra></extra>",
        colorbar={
            "title": {"text": f"{title}: turned down · up", "side": "right"},
            "thickness": 10, "len": 1, "outlinewidth": 0, "x": 1.0, "tickformat": "+.2f", "nticks": 7,
        },
    )  # fmt: skip
    figure.add_bar(
        x=np.asarray(mean_abs, dtype=np.float32), y=np.arange(rows), orientation="h", xaxis="x2",
        marker={"color": BASE, "line": {"width": 0}}, customdata=list(labels), showlegend=False,
        hovertemplate="<b>%{customdata}</b><br>mean |" + title + "| = %{x:.4f}<extra></extra>",
    )  # fmt: skip
    starts = [row for row in range(rows) if row == 0 or layers[row] != layers[row - 1]]
    step = max(1, -(-len(starts) // 16))
    figure.update_layout(
        meta={"labels": list(labels)},
        uirevision=key, bargap=0.15, margin={"l": 36, "r": 8, "t": 8, "b": 40}, hovermode="closest",
        xaxis={"title": axis_title(bin_size), "domain": [0, 0.8], "zeroline": False, "showgrid": False},
        xaxis2={"title": "mean", "domain": [0.82, 0.98], "rangemode": "tozero", "nticks": 3,
                "zeroline": False},
        yaxis={"title": {"text": "layer", "standoff": 4}, "autorange": "reversed", "showgrid": False,
               "zeroline": False, "tickvals": starts[::step],
               "ticktext": [str(layers[row]) for row in starts[::step]]},
    )  # fmt: skip
    return figure


def axis_title(bin_size: int) -> str:
    """Words for the singular index, saying so when columns are means over several."""
    if bin_size == 1:
        return "singular index, largest σ first"
    return f"singular index, largest σ first (each column: mean of {bin_size})"


def robust_limit(
    values: np.ndarray,  # (rows, columns)
) -> float:
    """Symmetric colour limit: the 99.5th percentile of |values|, so one outlier hides nothing."""
    finite = np.abs(values[np.isfinite(values)])
    if not finite.size:
        return 1.0
    return float(np.percentile(finite, 99.5)) or float(finite.max()) or 1.0


@dataclass(frozen=True)
class Series:
    """One expert or mixture on a matrix."""

    name: str
    colour: str
    z: np.ndarray  # (r,)
    captured: np.ndarray  # (r,) captured variance of σ ⊙ |z|


def component(
    sigma: np.ndarray,  # (r,)
    captured: np.ndarray,  # (r,) captured variance of σ
    series: Sequence[Series],  # one, or two to compare
    log: bool = True,
    key: str = "",
) -> go.Figure:
    """One matrix by singular index: σ and σ·z, z, captured variance, and for two their difference."""
    index = np.arange(len(sigma))
    figure = go.Figure()
    panels = 4 if len(series) == 2 else 3

    def line(y: np.ndarray, name: str, colour: str, panel: int, **extra: object) -> None:
        axes = {} if panel == 1 else {"xaxis": "x", "yaxis": f"y{panel}"}
        figure.add_scattergl(
            x=index, y=np.asarray(y, dtype=np.float32), name=name, mode="lines",
            legendgroup=name, line={"color": colour, "width": 1.5}, **axes, **extra,
        )  # fmt: skip

    line(sigma, "base", BASE, 1, hovertemplate="σ = %{y:.3g}")
    for one in series:
        line(sigma * one.z, one.name, one.colour, 1, hovertemplate="σ·z = %{y:.3g}")
        line(one.z, one.name, one.colour, 2, showlegend=False, hovertemplate="z = %{y:.3f}")
        line(one.captured, one.name, one.colour, 3, showlegend=False, hovertemplate="%{y:.1%}")
    line(captured, "base", BASE, 3, showlegend=False, hovertemplate="%{y:.1%}")
    titles = ["σ and σ·z", "z", "captured"]
    if len(series) == 2:
        name = f"z of {series[0].name} − {series[1].name}"
        line(series[0].z - series[1].z, name, series[0].colour, 4, showlegend=False, fill="tozeroy",
             hovertemplate="%{y:+.3f}")  # fmt: skip
        titles.append("z difference")
    gap = 0.05
    height = (1 - gap * (panels - 1)) / panels
    for number, title in enumerate(titles, start=1):
        top = 1 - (number - 1) * (height + gap)
        axis = {"domain": [max(0.0, top - height), top], "title": {"text": title, "standoff": 2},
                "zeroline": False, "nticks": 5}  # fmt: skip
        figure.update_layout({"yaxis" if number == 1 else f"yaxis{number}": axis})
    figure.update_layout(
        uirevision=key, hovermode="x unified", margin={"l": 52, "r": 8, "t": 26, "b": 36},
        xaxis={"title": "singular index, largest σ first", "anchor": f"y{panels}", "zeroline": False},
        yaxis_type="log" if log else "linear",
        yaxis3={"tickformat": ".0%", "rangemode": "tozero"},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        shapes=[{"type": "line", "xref": "x domain", "x0": 0, "x1": 1, "yref": "y2", "y0": 1, "y1": 1,
                 "line": {"color": BASE, "width": 1, "dash": "dot"}}],
    )  # fmt: skip
    return figure
