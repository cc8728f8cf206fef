"""What experts did to singular values as plotly figures: a heatmap, and one matrix in detail.

Knows plain arrays, nothing of the app. Colours that must follow the page's theme are left out here
and filled in by assets/shared/plots.js: text, grid, and the diverging scale of a heatmap (z − 1:
neutral at 0, symmetric limits, red turned up, blue turned down). To keep messages small, a
heatmap's values are sent as int8 with a scale in the trace's `meta`; the browser decodes them, and
−128 means that there is no component.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly
import plotly.graph_objects as go

from t2ui.figures.colours import BASE

MISSING = -128


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
    labels: Sequence[str],  # (rows,) unique, shown on hover
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
    what = "component" if bin_size == 1 else "components from"
    index = np.arange(columns) * bin_size
    figure = go.Figure()
    figure.add_heatmap(
        z=codes,
        x=index,
        y=list(labels),
        zmin=-limit,
        zmax=limit,
        meta={"scale": scale, "role": "diverging"},
        # percent: plotly refuses a sign in its other formats
        hovertemplate=f"<b>%{{y}}</b><br>{what} %{{x}}<br>{title} = %{{z:+.2%}}<extra></extra>",
        colorbar={
            "title": {"text": f"turned down   ·   {title}   ·   turned up", "side": "right"},
            "thickness": 10,
            "len": 1,
            "x": 1.0,
            "outlinewidth": 0,
            "tickvals": signed_ticks(limit),
            "ticktext": [signed_percent(tick) for tick in signed_ticks(limit)],
        },
    )
    figure.add_bar(
        x=np.asarray(mean_abs, dtype=np.float32),
        y=list(labels),
        orientation="h",
        xaxis="x2",
        marker={"color": BASE, "line": {"width": 0}},
        showlegend=False,
        hovertemplate=f"<b>%{{y}}</b><br>mean |{title}| = %{{x:.2%}}<extra></extra>",
    )
    starts = [row for row in range(rows) if row == 0 or layers[row] != layers[row - 1]]
    shown = starts[:: max(1, -(-len(starts) // 16))]
    flat = {"zeroline": False, "showgrid": False}
    figure.update_layout(
        uirevision=key,
        bargap=0.15,
        margin={"l": 40, "r": 6, "t": 30, "b": 38},
        hovermode="closest",
        xaxis={"title": axis_title(bin_size), "domain": [0, 0.87], **flat},
        xaxis2={
            "title": "mean",
            "domain": [0.885, 1],
            "rangemode": "tozero",
            **_one_tick(float(np.max(mean_abs, initial=0.0))),
            "zeroline": False,
        },
        yaxis={
            "title": {"text": "layer", "standoff": 4},
            "autorange": "reversed",
            "tickvals": [labels[row] for row in shown],
            "ticktext": [str(layers[row]) for row in shown],
            **flat,
        },
    )
    return figure


def axis_title(bin_size: int) -> str:
    """Words for the singular index, saying so when columns are means over several."""
    return "singular index" if bin_size == 1 else f"singular index (means of {bin_size})"


def signed_ticks(limit: float) -> list[float]:
    """Round values from −limit to limit, 0 among them exactly."""
    unit = 10.0 ** np.floor(np.log10(limit / 2))
    step = float(max(s * unit for s in (1, 2, 5) if s * unit <= limit / 2))
    count = int(limit / step + 1e-9)
    return [round(i * step, 12) for i in range(-count, count + 1)]


def signed_percent(value: float) -> str:
    """ "+2%", "−0.5%", and "0" for what is left as it is."""
    return f"{100 * value:+.3g}%".replace("-", "−") if value else "0"


def _one_tick(most: float) -> dict[str, object]:
    """Ticks of an axis too narrow for two labels: the last round value before its end."""
    if not most > 0:
        return {"tickvals": [], "ticktext": []}
    tick = signed_ticks(most)[-1]
    return {"tickvals": [tick], "ticktext": [f"{100 * tick:.3g}%"], "tickangle": 0}


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
    """One matrix by singular index: σ and σ·z, z, captured variance; for two, their difference."""
    figure = go.Figure()
    add = _line_adder(figure, len(sigma))
    # the base is drawn first and wider, so that it shows where the others cover it
    add(sigma, "base", BASE, 1, width=4, hovertemplate="σ = %{y:.3g}", showlegend=True)
    add(captured, "base", BASE, 3, width=4, hovertemplate="%{y:.1%}")
    for one in series:
        scaled = np.asarray(sigma) * np.asarray(one.z)
        if log:  # a negative value has no place on a log axis
            scaled = np.where(scaled > 0, scaled, np.nan)
        add(scaled, one.name, one.colour, 1, hovertemplate="σ·z = %{y:.3g}", showlegend=True)
        add(one.z, one.name, one.colour, 2, hovertemplate="z = %{y:.3f}")
        add(one.captured, one.name, one.colour, 3, hovertemplate="%{y:.1%}")
    titles = ["σ and σ·z", "z", "captured"]
    if len(series) == 2:
        first, second = series
        name = f"z of {first.name} − {second.name}"
        add(first.z - second.z, name, first.colour, 4, fill="tozeroy", hovertemplate="%{y:.3f}")
        titles.append("difference of z")
    _stack_axes(figure, titles)
    figure.update_layout(
        uirevision=key,
        hovermode="x unified",
        margin={"l": 52, "r": 6, "t": 50, "b": 36},  # legend, and the plot's buttons above it
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        yaxis3={"tickformat": ".0%", "rangemode": "tozero"},
        shapes=[
            {
                "type": "line",
                "xref": "x domain",
                "yref": "y2",
                **{"x0": 0, "x1": 1, "y0": 1, "y1": 1},
                "line": {"color": BASE, "width": 1, "dash": "dot"},
            }
        ],
    )
    if log:
        figure.update_layout(yaxis={"type": "log", "tickvals": log_ticks(sigma)})
    return figure


def log_ticks(
    values: np.ndarray,  # (n,) positive
) -> list[float]:
    """1, 2 and 5 of every decade the values reach, only the decades when there are many."""
    positive = np.asarray(values)[np.asarray(values) > 0]
    if not positive.size:
        return [1.0]
    low, high = np.floor(np.log10(positive.min())), np.ceil(np.log10(positive.max()))
    steps = (1, 2, 5) if high - low <= 2 else (1,)
    decades = np.arange(low, high + 1)
    return [float(f"{step * 10.0**decade:.6g}") for decade in decades for step in steps]


def _line_adder(figure: go.Figure, points: int) -> Callable[..., None]:
    index = np.arange(points)

    def add(
        values: np.ndarray, name: str, colour: str, panel: int, width: float = 1.5, **extra: object
    ) -> None:
        figure.add_scatter(
            x=index,
            y=np.asarray(values, dtype=np.float32),
            yaxis="y" if panel == 1 else f"y{panel}",
            name=name,
            mode="lines",
            legendgroup=name,
            line={"color": colour, "width": width},
            opacity=0.55 if width > 2 else 1.0,
            **{"showlegend": False, **extra},
        )

    return add


def _stack_axes(figure: go.Figure, titles: Sequence[str]) -> None:
    """One y axis per panel, from top to bottom, over a common x axis."""
    gap = 0.05
    height = (1 - gap * (len(titles) - 1)) / len(titles)
    for number, title in enumerate(titles, start=1):
        top = 1 - (number - 1) * (height + gap)
        axis = {
            "domain": [max(0.0, top - height), top],
            "title": {"text": title, "standoff": 2},
            "zeroline": False,
            "nticks": 5,
        }
        figure.update_layout({"yaxis" if number == 1 else f"yaxis{number}": axis})
    figure.update_layout(
        xaxis={
            "title": "singular index, largest σ first",
            "anchor": "y" if len(titles) == 1 else f"y{len(titles)}",
            "zeroline": False,
        }
    )
