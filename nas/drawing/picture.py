"""Functions drawn as a picture file, PNG or SVG, by Matplotlib."""

from __future__ import annotations

import io
import textwrap
from typing import Any

import numpy as np
from matplotlib import colormaps, rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text

from nas.drawing.curves import Curves
from nas.drawing.layout import Limits, Points, limits, number, spots, ticks

INK, GREY, GRID = "#1f2937", "#6b7280", "#e5e7eb"
VALUE, SLOPE = "#1d4ed8", "#ea580c"
WIDTH, DPI = 8.0, 160
STYLE: Any = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": GREY,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "text.parse_math": False,
    "axes.unicode_minus": True,
    "svg.fonttype": "none",
    "svg.hashsalt": "nas",
}
LINE = 0.2  # inches
LEFT, RIGHT = 0.08, 0.975


def picture(curves: Curves, name: str, kind: str, formula: str, caption: str, form: str) -> bytes:
    """Return a PNG or SVG (`form` is ".png" or ".svg") of functions and their derivatives.

    One function is drawn with its derivative beside it, several above a second panel with the derivatives.
    """
    several = len(curves.values) > 1
    above, below = textwrap.wrap(formula, 98), textwrap.wrap(caption, 124)
    height = (6.7 if several else 4.6) + LINE * (len(above) + len(below))
    with rc_context(STYLE):
        figure = Figure((WIDTH, height), dpi=DPI)
        figure.text(LEFT, 1 - 0.3 / height, name, fontsize=15, weight="bold", va="center")
        figure.text(RIGHT, 1 - 0.3 / height, kind, fontsize=11, color=GREY, ha="right", va="center")
        for i, text in enumerate(above):
            figure.text(LEFT, 1 - (0.6 + LINE * i) / height, text, va="center")
        for i, text in enumerate(reversed(below)):
            figure.text(LEFT, (0.15 + LINE * i) / height, text, fontsize=8.5, color=GREY, va="center")
        ratios = [3, 2] if several else [1]
        panels = figure.subplots(len(ratios), sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
        top, bottom = 1 - (0.82 + LINE * len(above)) / height, (0.62 + LINE * len(below)) / height
        figure.subplots_adjust(LEFT, bottom, RIGHT, top, hspace=0.17)
        if several:
            _panel(panels[0], curves.x, curves.values, "functions")
            _panel(panels[1], curves.x, curves.slopes, "derivatives")
        else:
            _pair(panels[0], curves)
        panels[-1].set_xlabel("x")
        written = io.BytesIO()
        when = {"Date": None} if form == ".svg" else {}
        figure.savefig(written, format=form.removeprefix("."), metadata={"Title": f"{kind} {name}"} | when)
    return written.getvalue()


def _panel(axes: Axes, x: Points, functions: Points, what: str) -> None:
    """Draw numbered functions, coloured in their order."""
    window = limits(functions)
    _frame(axes, x, window)
    axes.set_title(what, loc="left", fontsize=9, color=GREY)
    for i, values in enumerate(functions):
        axes.plot(x, values, color=_shade(i, len(functions)), linewidth=1.9, gid=f"{what[:-1]}-{i}")
    for i, spot in enumerate(spots(x, functions, window, aspect=2.4)):
        _label(axes, spot, str(i), _shade(i, len(functions)))


def _pair(axes: Axes, curves: Curves) -> None:
    """Draw one function and its derivative."""
    both = np.concatenate([curves.values, curves.slopes])
    window = limits(both)
    _frame(axes, curves.x, window)
    looks = [(VALUE, "-", 2.4, "function-0", "f(x)"), (SLOPE, (0, (5, 2)), 1.7, "derivative-0", "f'(x)")]
    for values, spot, look in zip(both, spots(curves.x, both, window), looks, strict=True):
        color, dash, width, name, label = look
        axes.plot(curves.x, values, color=color, linestyle=dash, linewidth=width, gid=name)
        _label(axes, spot, label, color)


def _frame(axes: Axes, x: Points, window: Limits) -> None:
    axes.set_xlim(x[0], x[-1])
    axes.set_ylim(*window)
    heights = ticks(*window, 8)
    axes.set_yticks(heights, [number(height).replace("-", "\N{MINUS SIGN}") for height in heights])
    axes.grid(color=GRID, linewidth=0.8)
    axes.axhline(0, color="#9ca3af", linewidth=0.9, zorder=1)
    axes.axvline(0, color="#9ca3af", linewidth=0.9, zorder=1)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _label(axes: Axes, spot: tuple[float, float], text: str, color: Any) -> Text:
    box = {"boxstyle": "round,pad=0.18", "facecolor": "white", "edgecolor": "none", "alpha": 0.9}
    return axes.text(*spot, text, color=color, weight="bold", ha="center", va="center", fontsize=9, bbox=box)


def _shade(i: int, count: int) -> Any:
    """Return a colour from dark violet to green, each of which still shows on white."""
    return colormaps["viridis"](0.75 * i / max(count - 1, 1))
