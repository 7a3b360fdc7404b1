"""Where things go in a drawing of functions: how far the axes reach, which ticks they have, where labels stand."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Limits = tuple[float, float]

MARGIN = 0.05
CANDIDATES = 120
EDGE = 0.03  # of the width, at both ends, where no label stands
FAR = 0.25  # of the height: beyond it, more distance between a label and other functions is no gain


def limits(*values: Points) -> Limits:
    """Return a range that shows all values; if a few lie far outside the central 98 %, only those inside."""
    finite = np.concatenate([each[np.isfinite(each)] for each in values] or [np.zeros(1)])
    if not finite.size:
        return -1.0, 1.0
    low, high = float(finite.min()), float(finite.max())
    inner_low, inner_high = map(float, np.percentile(finite, [1, 99]))
    if high - low > 3 * (inner_high - inner_low) > 0:
        low, high = inner_low, inner_high
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-9):
        low, high = low - 1, high + 1
    margin = MARGIN * (high - low)
    return low - margin, high + margin


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return the multiples of 1, 2 or 5 times a power of ten from low to high, at most so many (at least 5)."""
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    for step in (power, 2 * power, 5 * power, 10 * power, 20 * power):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first < most:
            break
    return [n * step for n in range(first, last + 1)]


def number(value: float) -> str:
    """Write a tick."""
    return f"{value + 0.0:.4g}"


def spots(x: Points, values: Points, window: Limits, aspect: float = 2.0) -> list[tuple[float, float]]:
    """Return for each function [count, points] the point of it where its label is read best.

    That is, among its points that are far from all other functions and labels, the one that stands out most from
    the mean of all functions. `aspect` is the drawing's width over its height. Functions that are nowhere inside
    the window get their middle.
    """
    every = np.unique(np.linspace(0, len(x) - 1, CANDIDATES).round().astype(int))
    across = aspect * (x[every] - x[0]) / (x[-1] - x[0])
    up = (np.nan_to_num(values[:, every], nan=np.inf) - window[0]) / (window[1] - window[0])
    central = (across > EDGE * aspect) & (across < (1 - EDGE) * aspect)
    middle = np.clip(up, 0, 1).mean(0)
    found: list[tuple[float, float]] = []
    labels = np.empty((0, 2))
    for i, heights in enumerate(up):
        places = np.flatnonzero(central & (heights > 0) & (heights < 1))
        if not len(places):
            places = np.array([len(every) // 2])
        others = np.stack(np.broadcast_arrays(across, np.delete(up, i, 0)), -1).reshape(-1, 2)
        away = np.concatenate([others[np.isfinite(others[:, 1])], labels, [(-FAR, 0.5)]])
        distance = np.hypot(across[places, None] - away[:, 0], heights[places, None] - away[:, 1]).min(1).clip(0, FAR)
        good = places[distance >= 0.7 * distance.max()]
        best = good[int(np.argmax(abs(heights - middle)[good]))]
        labels = np.concatenate([labels, [(across[best], heights[best])]])
        found.append((float(x[every[best]]), float(values[i, every[best]])))
    return found
