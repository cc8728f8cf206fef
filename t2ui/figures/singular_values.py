"""What experts did to the singular values of one matrix, as a plotly figure.

Knows plain arrays, nothing of the app. Text and grid follow the page's theme and are coloured by
assets/shared/plots.js.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly
import plotly.graph_objects as go

from t2ui.figures.colours import BASE


def plotly_file() -> Path:
    """The plotly.js of the installed plotly, served by the app to its own pages."""
    return Path(plotly.__file__).parent / "package_data" / "plotly.min.js"


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
        colour = second.colour if first.colour == BASE else first.colour
        add(first.z - second.z, name, colour, 4, fill="tozeroy", hovertemplate="%{y:.3f}")
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
