"""Learning curves: what a trial reported, by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from dashboard.figures import look

Curves = Mapping[str, Sequence[tuple[int, float]]]

PANELS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "accuracy": ("Accuracy", "share classified rightly", ("val_accuracy",)),
    "loss": ("Loss", "cross-entropy [nats]", ("val_loss", "train_loss")),
    "rate": ("Learning rate", "rate of the last step", ("rate",)),
    "seconds": ("Time", "seconds of the epoch", ("seconds",)),
}
FEW = 10
SPOKEN = {"val_accuracy": "validation", "val_loss": "validation", "train_loss": "training"}


def draw(curves: Curves) -> dict[str, go.Figure]:
    """Draw one figure a panel: the known ones, then one for each other metric that has two steps or more."""
    named = {name for _, _, names in PANELS.values() for name in names}
    panels = dict(PANELS)
    for name in curves:
        if name not in named and len(curves[name]) > 1:
            panels[name] = (name, name, (name,))
    return {
        key: _panel(title, label, {name: curves[name] for name in names if name in curves})
        for key, (title, label, names) in panels.items()
        if any(name in curves for name in names)
    }


def _panel(title: str, label: str, curves: Curves) -> go.Figure:
    lines = [
        go.Scatter(
            name=SPOKEN.get(name, name),
            mode="lines+markers",
            x=[step for step, _ in points],
            y=[value for _, value in points],
            line={"color": look.SERIES[i], "width": 2},
            marker={"size": 6},
            hovertemplate="epoch %{x}<br>%{y:.5~g}<extra>" + SPOKEN.get(name, name) + "</extra>",
        )
        for i, (name, points) in enumerate(curves.items())
    ]
    last = max(points[-1][0] for points in curves.values())
    return go.Figure(
        data=lines,
        layout=look.layout(
            title,
            keep=title,
            height=280,
            showlegend=len(lines) > 1,
            xaxis=look.axis("epoch", tickformat="d", dtick=1 if last <= FEW else None),
            yaxis=look.axis(label, rangemode="tozero" if title in ("Learning rate", "Time") else "normal"),
        ),
    )
