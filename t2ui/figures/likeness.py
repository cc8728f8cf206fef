"""Experts beside each other as plotly figures: a map of their directions, and a pair by layer.

Knows plain arrays, names and colours, nothing of the app.
"""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

ROOM = 0.35  # around the points of the map, as a share of its width: names stand beside them


def map_of_experts(
    names: Sequence[str],
    colours: Sequence[str],
    points: np.ndarray,  # (n, 2), NaN for one that has no place
    size: np.ndarray,  # (n,) root mean square of z − 1
) -> go.Figure:
    """A dot for each expert, larger where it changes more; near where two turn z alike."""
    there = np.isfinite(points).all(axis=1)
    shown = [i for i in range(len(names)) if there[i]]
    most = float(np.max(size, initial=0.0)) or 1.0
    figure = go.Figure()
    figure.add_scatter(
        x=points[shown, 0],
        y=points[shown, 1],
        mode="markers+text",
        text=[names[i] for i in shown],
        textposition="top center",
        cliponaxis=False,
        customdata=size[shown],
        marker={
            "size": [10 + 14 * float(size[i]) / most for i in shown],
            "color": [colours[i] for i in shown],
            "opacity": 0.9,
        },
        hovertemplate="<b>%{text}</b><br>root mean square of z − 1 = %{customdata:.2%}"
        "<extra></extra>",
        showlegend=False,
    )
    reach = float(np.max(np.abs(points[shown]), initial=0.0)) or 1.0
    span = [-(1 + ROOM) * reach, (1 + ROOM) * reach]
    plain = {"range": span, "showticklabels": False, "zeroline": False, "title": None}
    figure.update_layout(
        xaxis=plain,
        yaxis={**plain, "scaleanchor": "x"},
        margin={"l": 6, "r": 6, "t": 6, "b": 6},
        hovermode="closest",
        uirevision="|".join(names),
    )
    return figure


def pair_by_layer(
    layers: Sequence[int],
    cosine: np.ndarray,  # (layers,), NaN where one changes nothing
    names: tuple[str, str],
    colour: str,
) -> go.Figure:
    """The cosine of two experts' z − 1 in every layer: up is alike, down is opposite."""
    limit = float(np.nanmax(np.abs(cosine), initial=0.0)) if np.isfinite(cosine).any() else 0.0
    figure = go.Figure()
    figure.add_bar(
        x=list(layers),
        y=[float(c) if np.isfinite(c) else None for c in cosine],
        marker={"color": colour},
        hovertemplate="layer %{x}<br>cosine = %{y:.3f}<extra></extra>",
        showlegend=False,
    )
    figure.update_layout(
        xaxis={"title": "layer", "showgrid": False},
        yaxis={
            "title": f"cosine of {names[0]} and {names[1]}",
            "range": [-1.1 * limit or -1, 1.1 * limit or 1],
        },
        margin={"l": 60, "r": 8, "t": 8, "b": 38},
        bargap=0.15,
    )
    return figure
