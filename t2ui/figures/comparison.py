"""Accuracies of methods on sets of rows as a plotly figure, and a page that holds it.

Knows records as plain dicts, nothing of models and files.
"""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from t2ui.figures.colours import BASE, BLUE, GREEN, VERMILION

SIGNIFICANT = 0.05
CAPTION = (
    "Share of right answers with 95 % Wilson intervals; the dotted line is the base model.<br>"
    "Green is better than the base, red worse, by the exact McNemar test at 5 %."
)
ROW, GAP, HEAD, MARGIN, WIDTH = 26, 84, 110, 40, 900  # pixels
LEFT, RIGHT = 210, 260  # pixels beside the plot, for names and for numbers
NAME_LENGTH = 26  # characters of a method's name


def accuracies(records: Sequence[Mapping[str, Any]]) -> go.Figure:
    """A panel per set: every method's share of right answers as a dot with its 95 % interval.

    The base's share is a dotted line. A dot is green or red where the paired test tells the method
    from the base at 5 %.

    Args:
        records: what was measured: set, method, n, accuracy and interval (in [0, 1]); and where
            there is a base to compare with, its accuracy on the same rows as `base`, and `p`.
    """
    names = list(dict.fromkeys(record["set"] for record in records))
    panels = [[record for record in records if record["set"] == name] for name in names]
    heights = [ROW * len(panel) for panel in panels]
    plot = sum(heights) + GAP * (len(panels) - 1)
    figure = make_subplots(
        len(panels),
        1,
        row_heights=heights,
        vertical_spacing=GAP / plot if len(panels) > 1 else 0,
        subplot_titles=[
            f"{escape(name)}, n = {max(record['n'] for record in panel)}"
            for name, panel in zip(names, panels, strict=True)
        ],
    )
    for row, panel in enumerate(panels, start=1):
        _draw(figure, row, panel)
    figure.update_layout(
        template="plotly_white",
        showlegend=False,
        width=WIDTH,
        title={"text": CAPTION, "font": {"size": 13}, "x": 0.02},
        height=plot + HEAD + MARGIN,
        margin={"l": LEFT, "r": RIGHT, "t": HEAD, "b": MARGIN},
    )
    return figure


def html_page(figure: go.Figure) -> str:
    """A whole page with the figure and plotly.js inside, which opens without a network (5 MB)."""
    page: str = figure.to_html(include_plotlyjs=True, config={"displaylogo": False})
    return page


def _draw(figure: go.Figure, row: int, panel: Sequence[Mapping[str, Any]]) -> None:
    for place, record in enumerate(panel):
        low, high = record["interval"]
        share, colour = record["accuracy"], _colour(record)
        figure.add_scatter(
            x=[share],
            y=[place],
            name=record["method"],
            mode="markers",
            marker={"size": 9, "color": colour},
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [high - share],
                "arrayminus": [share - low],
                "color": colour,
            },
            hovertemplate=f"{escape(record['method'])}: {_numbers(record)}<extra></extra>",
            row=row,
            col=1,
        )
        figure.add_annotation(
            text=_numbers(record),
            showarrow=False,
            xref="x domain",
            x=1.02,
            xanchor="left",
            y=place,
            row=row,
            col=1,
        )
    base = next((record for record in panel if "p" not in record), None)
    if base is not None:
        figure.add_vline(base["accuracy"], line={"color": BASE, "dash": "dot"}, row=row, col=1)
    highest = _ceiling(max(record["interval"][1] for record in panel))
    figure.update_xaxes(range=[0, highest], tickformat=".0%", row=row, col=1)
    figure.update_yaxes(
        range=[len(panel) - 0.5, -0.5],  # the first method on top
        tickvals=list(range(len(panel))),
        ticktext=[escape(_short(record["method"])) for record in panel],
        showgrid=False,
        zeroline=False,
        row=row,
        col=1,
    )


def _colour(record: Mapping[str, Any]) -> str:
    """Grey for the base, blue for what the test cannot tell from it."""
    if "p" not in record:
        return BASE
    if record["p"] >= SIGNIFICANT:
        return BLUE
    return GREEN if record["accuracy"] > record["base"] else VERMILION


def _numbers(record: Mapping[str, Any]) -> str:
    """ "80.0 % [58.4, 91.9]  p = 0.0005"."""
    low, high = record["interval"]
    test = f"  p = {record['p']:.2g}" if "p" in record else ""
    return f"{100 * record['accuracy']:.1f} % [{100 * low:.1f}, {100 * high:.1f}]{test}"


def _ceiling(share: float) -> float:
    """The end of an axis: the next of 5, 10, 20, 40, 60, 80, 100 %."""
    return next((end for end in (0.05, 0.1, 0.2, 0.4, 0.6, 0.8) if share <= end), 1.0)


def _short(name: str) -> str:
    return name if len(name) <= NAME_LENGTH else f"{name[: NAME_LENGTH - 1]}…"
