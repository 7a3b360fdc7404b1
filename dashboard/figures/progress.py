"""A study of one objective: each completed trial's value by its number, and the best so far."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from dashboard.figures import look
from dashboard.figures.front import logarithmic, sample
from dashboard.reading import Completed
from dashboard.words import axis, figure, number


def draw(found: Completed) -> go.Figure:
    """Draw the only objective over the trial's number."""
    name = found.names[0]
    known = figure(name)
    values = found.values[:, 0]
    shown = sample(found)
    many = len(shown) > look.WEBGL_ABOVE
    hover = f"<b>trial %{{customdata}}</b><br>{name} %{{y:,.5~g}}<extra></extra>"
    cloud = (go.Scattergl if many else go.Scatter)(
        name="completed",
        mode="markers",
        x=found.numbers[shown],
        y=values[shown].astype(np.float32 if many else np.float64),
        customdata=found.numbers[shown].tolist(),
        marker=look.marker(len(shown)),
        hovertemplate=hover,
    )
    best = (np.fmax if known.maximize else np.fmin).accumulate(values) if len(values) else values
    steps = np.flatnonzero(np.diff(best, prepend=np.nan) != 0)
    if len(values) and steps[-1] != len(values) - 1:
        steps = np.append(steps, len(values) - 1)
    line = go.Scatter(
        name="best so far",
        mode="lines",
        x=found.numbers[steps],
        y=best[steps],
        line={"color": look.LEADER, "width": 2.5, "shape": "hv"},
        hoverinfo="skip",
    )
    title = f"{len(values):,} completed trials" + (f", best {number(best[-1], known.unit)}" if len(values) else "")
    return go.Figure(
        data=[cloud, line],
        layout=look.layout(
            title,
            keep=name,
            height=460,
            **look.UNDER_TITLE,
            xaxis=look.axis("trial number"),
            yaxis=look.axis(axis(name), log=logarithmic(name, values)),
        ),
    )
