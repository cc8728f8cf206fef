"""A training's log as a plotly figure. Knows log events as plain dicts."""

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from t2ui.figures.colours import BASE, BLUE, GREEN

# What a step may log, and its unit; only what is in the log is drawn.
PANELS = {
    "reward": "reward of the rollouts, −1 to 1",
    "cross_entropy": "cross-entropy of right answers, nats per token",
    "accuracy": "share right",
    "kl": "KL(adapted ‖ base), nats",
}


def training_curves(events: Sequence[dict[str, Any]]) -> go.Figure:
    """Reward or cross-entropy, accuracy and KL by step; validation as a line with dots.

    Args:
        events: {"kind": "step" | "validation" | "end", "step": int, "values": {name: float}}.
    """
    steps = [e for e in events if e["kind"] == "step"]
    checks = [e for e in events if e["kind"] == "validation"]
    panels = [key for key in PANELS if any(key in e["values"] for e in steps + checks)]
    figure = make_subplots(
        len(panels) or 1,
        1,
        shared_xaxes=True,
        vertical_spacing=0.08,
        subplot_titles=[PANELS[key] for key in panels],
    )
    for row, key in enumerate(panels, start=1):
        points = [(e["step"], e["values"][key]) for e in steps if key in e["values"]]
        if points:
            x, y = zip(*points, strict=True)
            figure.add_scatter(
                x=x,
                y=y,
                name="training",
                mode="lines",
                line={"color": BLUE, "width": 1},
                row=row,
                col=1,
                legendgroup="training",
                showlegend=row == 1,
            )
        seen = [(e["step"], e["values"][key]) for e in checks if key in e["values"]]
        if key in ("accuracy", "cross_entropy") and seen:
            x, y = zip(*seen, strict=True)
            figure.add_scatter(
                x=x,
                y=y,
                name="validation",
                mode="lines+markers",
                row=row,
                col=1,
                line={"color": GREEN, "width": 2.5},
                legendgroup="validation",
                showlegend=key == "accuracy",
            )
            figure.add_hline(
                y=y[0],
                line={"color": BASE, "dash": "dot"},
                row=row,
                col=1,
                annotation_text="start",
            )
    figure.update_xaxes(title_text="step", row=len(panels) or 1, col=1)
    figure.update_layout(template="plotly_white", height=240 * max(len(panels), 1) + 60)
    return figure
