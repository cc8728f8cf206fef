"""Differences of z in many matrices as a plotly figure: a heatmap by singular index.

Knows plain arrays and names, nothing of the app. Its colours follow the page's theme and are filled
in by assets/shared/plots.js: z − 1 diverges (neutral at 0, symmetric limits, red turned up, blue
turned down), magnitudes have one colour, more of it where they are larger. To keep messages small,
the values are sent as int8 with a scale in the trace's `meta`; the browser decodes them, and −128
means that there is no component.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from t2ui.figures.colours import BASE

MISSING = -128
MOST_TICKS = 36  # names of rows that fit beside a heatmap of ordinary height


def quantise(
    values: np.ndarray,  # (rows, columns) float32, NaN where there is no component
) -> tuple[np.ndarray, float]:
    """int8 codes and their scale: values ≈ codes · scale, exact at 0, MISSING for NaN."""
    limit = float(np.nanmax(np.abs(values), initial=0.0)) if np.isfinite(values).any() else 0.0
    scale = limit / 127 or 1.0
    codes = np.where(np.isfinite(values), np.round(values / scale), MISSING)
    return codes.astype(np.int8), scale


@dataclass(frozen=True)
class Rows:
    """What stands beside the rows of a heatmap, from the top."""

    names: Sequence[str]  # (rows,) in full, unique, shown on hover: "layer 3 · q"
    ticks: Sequence[str]  # (rows,) on the axis: "3"
    blocks: Sequence[str] = ()  # (rows,) "q": those of one name stand together, divided by a line
    title: str = ""  # of the axis


@dataclass(frozen=True)
class Quantity:
    """What the colours of a heatmap stand for."""

    name: str = "z − 1"
    low: str = "turned down"  # what a negative value means
    high: str = "turned up"
    magnitude: bool = False  # of several matrices together: mean absolute values, from 0


def heatmap(
    values: np.ndarray,  # (rows, columns) float32, z − 1, a difference of two, or magnitudes
    rows: Rows,
    mean_abs: np.ndarray,  # (rows,) mean |values| of each row
    bin_size: int = 1,
    quantity: Quantity = Quantity(),  # noqa: B008, it is frozen
    signed: np.ndarray | None = None,  # (rows, columns) of magnitudes: the means with their signs
) -> go.Figure:
    """A row for each matrix or group by singular index, with a strip of mean absolute changes.

    A click on either yields the row. The zoom is kept while rows and quantity stay the same.
    """
    codes, scale = quantise(values)
    limit = robust_limit(values)
    ticks = [t for t in signed_ticks(limit) if t >= 0 or not quantity.magnitude]
    figure = go.Figure()
    figure.add_heatmap(
        z=codes,
        x=np.arange(values.shape[1]) * bin_size,
        y=list(rows.names),
        zmin=0 if quantity.magnitude else -limit,
        zmax=limit,
        meta={"scale": scale, "role": "sequential" if quantity.magnitude else "diverging"},
        customdata=None if signed is None else _rounded(signed),
        hovertemplate=_hover(quantity, bin_size, signed is not None),
        colorbar={
            "title": {"text": _scale_title(quantity), "side": "right"},
            "thickness": 10,
            "len": 1,
            "x": 1.0,
            "outlinewidth": 0,
            "tickvals": ticks,
            "ticktext": [_percent(tick, not quantity.magnitude) for tick in ticks],
        },
    )
    figure.add_bar(
        x=np.asarray(mean_abs, dtype=np.float32),
        y=list(rows.names),
        orientation="h",
        xaxis="x2",
        marker={"color": BASE, "line": {"width": 0}},
        showlegend=False,
        hovertemplate=f"<b>%{{y}}</b><br>mean |{quantity.name}| = %{{x:.2%}}<extra></extra>",
    )
    places, texts = row_ticks(rows)
    flat = {"zeroline": False, "showgrid": False}
    figure.update_layout(
        uirevision="|".join([quantity.name, rows.title, *rows.names]),
        bargap=0.15,
        margin={"l": 8 + _left(texts), "r": 6, "t": 30, "b": 38},
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
            "title": {"text": rows.title, "standoff": 4},
            "type": "category",
            "autorange": "reversed",
            "tickvals": [rows.names[row] for row in places],
            "ticktext": texts,
            **flat,
        },
        shapes=[
            {
                "type": "line",
                "xref": "paper",
                "yref": "y",
                **{"x0": 0, "x1": 1, "y0": row - 0.5, "y1": row - 0.5},
                "line": {"color": BASE, "width": 1},
            }
            for row in _block_starts(rows)
            if row
        ],
    )
    return figure


def row_ticks(rows: Rows) -> tuple[list[int], list[str]]:
    """The rows that are named on the axis, and their names: all of them while there is room, else
    as many of every block as there is room for, its own name beside its first."""
    count = len(rows.names)
    starts = _block_starts(rows)
    ends = [*starts[1:], count]
    step = max(1, -(-count // MOST_TICKS))
    places, texts = [], []
    for start, end in zip(starts, ends, strict=True):
        last = end if end == count else end - step // 2  # none just above the next block's name
        for row in range(start, last, step):
            block = f"<b>{rows.blocks[row]}</b> " if rows.blocks and row == start else ""
            places.append(row)
            texts.append(f"{block}{rows.ticks[row]}")
    return places, texts


def _block_starts(rows: Rows) -> list[int]:
    blocks = rows.blocks or [""] * len(rows.names)
    return [at for at in range(len(blocks)) if at == 0 or blocks[at] != blocks[at - 1]]


def _left(texts: Sequence[str]) -> int:
    """Pixels for the names of rows and the axis title."""
    longest = max((len(text.replace("<b>", "").replace("</b>", "")) for text in texts), default=0)
    return 24 + 7 * min(longest, 20)


def _hover(quantity: Quantity, bin_size: int, signed: bool) -> str:
    name = quantity.name
    what = "component %{x}" if bin_size == 1 else f"{bin_size} components from %{{x}}"
    # percent: plotly refuses a sign in its other formats
    value = f"mean |{name}| = %{{z:.2%}}" if quantity.magnitude else f"{name} = %{{z:+.2%}}"
    more = f"<br>mean {name} = %{{customdata:+.2%}}" if signed else ""
    return f"<b>%{{y}}</b><br>{what}<br>{value}{more}<extra></extra>"


def _scale_title(quantity: Quantity) -> str:
    if quantity.magnitude:
        return f"mean |{quantity.name}|: how much is changed, up or down"
    return f"{quantity.low}   ·   {quantity.name}   ·   {quantity.high}"


def _rounded(values: np.ndarray) -> list[list[float | None]]:
    return [[round(v, 5) if np.isfinite(v) else None for v in row] for row in values.tolist()]


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
    return _percent(value, True)


def _percent(value: float, sign: bool) -> str:
    text = f"{100 * value:+.3g}%" if sign else f"{100 * value:.3g}%"
    return text.replace("-", "−") if value else "0"


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
