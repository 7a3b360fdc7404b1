"""The completed trials in the plane of two objectives, with the front."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray

from dashboard.figures import look
from dashboard.reading import Completed
from dashboard.words import axis, figure

SAMPLE_ABOVE = 50_000
LOGARITHMIC = ("params", "flops", "memory")


def draw(found: Completed, x: str, y: str) -> go.Figure:
    """Draw objective `y` over objective `x`; the front is that of all objectives, a line when there are two."""
    shown = sample(found)
    title = f"{len(found.numbers):,} completed trials, {len(found.front):,} on the front"
    if len(shown) < len(found.numbers):
        title += f" (a sample of {len(shown):,} is drawn, with the whole front)"
    across, up = found.column(x), found.column(y)
    many = len(shown) > look.WEBGL_ABOVE
    fine = np.float32 if many else np.float64
    cloud = (go.Scattergl if many else go.Scatter)(
        name="completed",
        mode="markers",
        x=across[shown].astype(fine),
        y=up[shown].astype(fine),
        customdata=found.numbers[shown].tolist(),
        marker=look.marker(len(shown)),
        hovertemplate=_hover(x, y),
    )
    marks = [cloud, _leaders(found, x, y), *_confirmed(found, x, y)]
    return go.Figure(
        data=marks,
        layout=look.layout(
            title,
            keep=f"{x}/{y}",
            height=460,
            **look.UNDER_TITLE,
            xaxis=look.axis(axis(x), log=logarithmic(x, across)),
            yaxis=look.axis(axis(y), log=logarithmic(y, up)),
        ),
    )


def sample(found: Completed) -> NDArray[np.int64]:
    """Return the rows to draw: all, or evenly spread ones and the front when they are too many."""
    rows = np.arange(len(found.numbers))
    if len(rows) <= SAMPLE_ABOVE:
        return rows
    stride = -(-len(rows) // SAMPLE_ABOVE)
    return np.union1d(rows[::stride], found.front)


def axes(names: tuple[str, ...]) -> tuple[str, str]:
    """Choose the first two axes to show: what is cheap to the right, what is trained upward."""
    cheap = [name for name in names if figure(name).cheap]
    trained = [name for name in names if name not in cheap]
    first, second = (trained + cheap)[:2]
    return second, first


def logarithmic(name: str, values: NDArray[np.float64]) -> bool:
    """Say whether an objective spans magnitudes by its nature, and can be drawn so."""
    return name in LOGARITHMIC and not bool((values <= 0).any())


def _leaders(found: Completed, x: str, y: str) -> go.Scatter:
    rows = found.front
    order = rows[np.lexsort((found.column(y)[rows], found.column(x)[rows]))]
    two = len(found.names) == 2
    return go.Scatter(
        name="front",
        mode="lines+markers" if two else "markers",
        x=found.column(x)[order],
        y=found.column(y)[order],
        customdata=found.numbers[order].tolist(),
        line={"color": look.LEADER, "width": 2, "shape": "vh" if figure(x).maximize else "hv"},
        marker={"color": look.LEADER, "size": 9, "line": {"width": 1, "color": "rgba(255,255,255,0.7)"}},
        hovertemplate=_hover(x, y),
    )


def _confirmed(found: Completed, x: str, y: str) -> list[go.Scatter]:
    place = {number: row for row, number in enumerate(found.numbers.tolist())}
    known = [n for n, named in sorted(found.confirmed.items()) if n in place and {x, y} <= named.keys()]
    if not known:
        return []
    across, up = ([found.confirmed[n][name] for n in known] for name in (x, y))
    trace = go.Scatter(
        name="confirmed, mean ± sd",
        mode="markers",
        x=[each.mean for each in across],
        y=[each.mean for each in up],
        error_x={"array": [each.deviation for each in across], "color": look.CONFIRMED, "thickness": 1.5},
        error_y={"array": [each.deviation for each in up], "color": look.CONFIRMED, "thickness": 1.5},
        customdata=known,
        marker={"color": look.CONFIRMED, "size": 10, "symbol": "diamond"},
        hovertemplate=_hover(x, y, "confirmed"),
    )
    return [trace]


def _hover(x: str, y: str, what: str = "trial") -> str:
    return f"<b>{what} %{{customdata}}</b><br>{y} %{{y:,.5~g}}<br>{x} %{{x:,.7~g}}<extra></extra>"
