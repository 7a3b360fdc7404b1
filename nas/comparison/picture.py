"""A comparison drawn as a picture file: means with their intervals by number of trials."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nas.comparison.curves import Summary
from nas.comparison.report import Comparison, Line
from nas.drawing.picture import DPI, GREY, GRID, STYLE, WIDTH

COLOURS = ("#1d4ed8", "#ea580c", "#059669", "#9333ea", "#dc2626", "#0891b2", "#a16207", "#4b5563", "#db2777", "#65a30d")
HEIGHT = 3.6
FIRST = 0.1  # of the trials are left out of the vertical limits, where the curves still rise steeply


def picture(comparison: Comparison, form: str) -> bytes:
    """Return a PNG or SVG (`form` is ".png" or ".svg"): a panel for test values and one for hypervolumes."""
    plan = comparison.plan
    panels = [
        (title, [(line, curves) for line in comparison.lines if (curves := getattr(line, name)) is not None])
        for name, title in (("best", f"{plan.test} of the selected"), ("volume", "hypervolume, share of the box"))
    ]
    panels = [(title, lines) for title, lines in panels if lines]
    with rc_context(STYLE):
        figure = Figure((WIDTH, HEIGHT * len(panels) + 0.6), dpi=DPI, layout="constrained")
        figure.suptitle(f"{plan.settings.space}, {comparison.lines[0].seeds} seeds, mean and its 95 % interval", x=0.5)
        axes = figure.subplots(len(panels), squeeze=False)[:, 0]
        for axis, (title, lines) in zip(axes, panels, strict=True):
            _panel(axis, title, lines)
        axes[-1].set_xlabel("trials")
        buffer = io.BytesIO()
        stamps: Any = {"Date": None} if form == ".svg" else {}
        figure.savefig(buffer, format=form[1:], metadata=stamps)
    return buffer.getvalue()


def _panel(axis: Axes, title: str, lines: list[tuple[Line, Summary]]) -> None:
    for i, (line, curves) in enumerate(lines):
        colour, steps = COLOURS[i % len(COLOURS)], np.arange(1, len(curves.mean) + 1)
        dashes = "-" if i < len(COLOURS) else "--"
        axis.plot(steps, curves.mean, dashes, color=colour, linewidth=1.6, label=line.name)
        low, high = curves.mean - curves.interval, curves.mean + curves.interval
        axis.fill_between(steps, low, high, color=colour, alpha=0.1, linewidth=0)
    start = max(1, int(FIRST * max(len(curves.mean) for _, curves in lines)))
    settled = np.concatenate([curves.mean[start - 1 :] for _, curves in lines])
    settled = settled[np.isfinite(settled)]
    if len(settled) and np.ptp(settled) > 0:
        axis.set_ylim(settled.min() - 0.1 * np.ptp(settled), settled.max() + 0.15 * np.ptp(settled))
    axis.set_title(title, fontsize=10, color=GREY, loc="left")
    axis.grid(color=GRID, linewidth=0.6)
    axis.legend(frameon=False, fontsize=8.5)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
