"""A search over mixtures as plotly figures: scores, and each expert's α, by generation.

Knows numbers, names and colours, nothing of the app. A trace whose `meta` names a colour ("ink",
"muted") is painted in that colour of the page's theme by assets/shared/plots.js.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from t2ui.figures.colours import faded

SPREAD_ALPHA = 0.16  # opacity of the band around a line
POINT_ALPHA = 0.35  # opacity of one member of the population
JITTER = 0.28  # generations to either side, so that members do not hide one another
MOST_NAMED = 5  # experts in the legend, which more would fill; the rest is one entry
OTHERS = "\0others"  # their group, a name that no expert can have
MAX_POINTS = 2000  # per figure; of more, only every second, third … is drawn


@dataclass(frozen=True)
class History:
    """A search so far, with one entry per generation (G of them)."""

    numbers: Sequence[int]  # (G,)
    best: Sequence[float]  # (G,)
    mean: Sequence[float]  # (G,)
    scores: Sequence[Sequence[float]]  # (G, members of that generation)
    alpha_mean: Mapping[str, Sequence[float]]  # expert -> (G,)
    alpha_spread: Mapping[str, Sequence[float]]  # expert -> (G,)
    population: Sequence[Sequence[Sequence[float]]]  # (G, members, experts), experts as above


def scores(history: History, unit: str) -> go.Figure:
    """Best and mean score by generation, the population as points. `unit` says what up means."""
    figure = go.Figure()
    x, y = _scattered(history.numbers, history.scores)
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers",
        name="members",
        meta={"colour": "faint"},
        marker={"size": 5, "opacity": POINT_ALPHA},
        hovertemplate="a member: %{y:.3f}<extra></extra>",
    )
    line = {"mode": "lines+markers", "x": list(history.numbers)}
    figure.add_scatter(
        y=list(history.mean),
        name="mean",
        meta={"colour": "muted"},
        line={"width": 1.5, "dash": "dot"},
        marker={"size": 4},
        hovertemplate="mean %{y:.3f}<extra></extra>",
        **line,
    )
    figure.add_scatter(
        y=list(history.best),
        name="best",
        meta={"colour": "accent"},
        line={"width": 2.5},
        marker={"size": 6},
        hovertemplate="best so far %{y:.3f}<extra></extra>",
        **line,
    )
    _lay_out(figure, history, unit)
    limits = _limits(history)
    if limits is not None:  # a few very bad members must not flatten the curves
        figure.update_layout(yaxis={"range": limits})
    return figure


def alphas(history: History, colours: Mapping[str, str]) -> go.Figure:
    """α of each expert by generation: the mean as a line, ± the spread as a band, members faint."""
    figure = go.Figure()
    numbers = list(history.numbers)
    named = _strongest(history.alpha_mean)
    others = [name for name in history.alpha_mean if name not in named]
    for place, (name, means) in enumerate(history.alpha_mean.items()):
        colour = colours[name]
        group = name if name in named else OTHERS
        x, y = _scattered(numbers, [[m[place] for m in one] for one in history.population])
        figure.add_scatter(
            x=x,
            y=y,
            mode="markers",
            legendgroup=group,
            showlegend=False,
            marker={"size": 4, "color": colour, "opacity": POINT_ALPHA},
            hovertemplate=f"{name} of a member: %{{y:.2f}}<extra></extra>",
        )
        mean, spread = np.asarray(means, float), np.asarray(history.alpha_spread[name], float)
        figure.add_scatter(
            x=[*numbers, *reversed(numbers)],
            y=[*(mean + spread), *reversed(mean - spread)],
            fill="toself",
            fillcolor=faded(colour, SPREAD_ALPHA),
            mode="lines",
            line={"width": 0},
            legendgroup=group,
            showlegend=False,
            hoverinfo="skip",
        )
        figure.add_scatter(
            x=numbers,
            y=list(mean),
            customdata=list(spread),
            mode="lines+markers",
            name=name,
            legendgroup=group,
            showlegend=name in named,
            line={"width": 2.5, "color": colour},
            marker={"size": 6},
            hovertemplate=f"{name} %{{y:.2f}} ± %{{customdata:.2f}}<extra></extra>",
        )
    if others:  # one entry for all of them, behind the others' own, in nobody's colour
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="lines",
            name=f"{len(others)} others",
            legendgroup=OTHERS,
            meta={"colour": "faint"},
            line={"width": 2.5},
        )
    _lay_out(figure, history, "α")
    figure.update_layout(yaxis={"zeroline": True, "zerolinewidth": 1})
    return figure


def _strongest(means: Mapping[str, Sequence[float]]) -> list[str]:
    """Who has a name of their own in the legend: all, or of many the strongest in the end."""
    ended = {name: abs(series[-1]) if len(series) else 0.0 for name, series in means.items()}
    ranked = sorted(ended, key=lambda name: -ended[name])
    return ranked if len(ranked) <= MOST_NAMED + 1 else ranked[:MOST_NAMED]


def _lay_out(figure: go.Figure, history: History, title: str) -> None:
    last = max(history.numbers, default=1)
    step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 1000) if last / s <= 12 or s == 1000)
    figure.update_layout(
        uirevision="search",
        hovermode="closest",
        margin={"l": 48, "r": 6, "t": 26, "b": 34},
        legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
        xaxis={
            "title": {"text": "generation", "standoff": 2},
            "zeroline": False,
            "showgrid": False,
            "dtick": step,
            "range": [0.5, max(last, 3) + 0.5],
        },
        yaxis={"title": {"text": title, "standoff": 4}, "zeroline": False, "nticks": 6},
    )


def _scattered(
    numbers: Sequence[int],  # (G,)
    values: Sequence[Sequence[float]],  # (G, members)
) -> tuple[list[float], list[float]]:
    """The members beside one another around their generation's number, in the order given."""
    x: list[float] = []
    y: list[float] = []
    for number, members in zip(numbers, values, strict=True):
        offsets = np.linspace(-JITTER, JITTER, len(members)) if len(members) > 1 else [0.0]
        x += [float(number + offset) for offset in offsets]
        y += [float(member) for member in members]
    every = -(-len(x) // MAX_POINTS) or 1
    return x[::every], y[::every]


def _limits(history: History) -> list[float] | None:
    """Limits of the score axis: they show the curves and all but the worst tenth of the members."""
    members = [s for one in history.scores for s in one if np.isfinite(s)]
    curves = [s for s in (*history.best, *history.mean) if np.isfinite(s)]
    if not members or not curves:
        return None
    low = min(min(curves), float(np.percentile(members, 10)))
    high = max(max(curves), max(members))
    pad = 0.06 * (high - low) or 0.05
    return [low - pad, high + pad]
