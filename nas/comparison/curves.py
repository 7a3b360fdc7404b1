"""What a simulated search had found after each trial: the incumbent's test value, and the front's hypervolume.

A search selects by the objectives it was given, which are of the validation split; the test column is read here alone,
of the trial that was selected.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nas import pareto
from nas.objectives import Objective
from nas.simulation import Simulated
from nas.store import State

Curve = NDArray[np.float64]
INTERVAL = 1.96


@dataclass(frozen=True)
class Summary:
    """A figure over the seeds, by number of trials: mean, half-width of its 95 % interval, 10th and 90th percentile."""

    mean: Curve
    interval: Curve
    low: Curve
    high: Curve


@dataclass(frozen=True)
class Reached:
    """How many searches reached a target, and how long they took: medians in which the others count as infinite."""

    share: float
    trials: float
    seconds: float


def incumbent(trials: Sequence[Simulated], objective: Objective, test: str) -> Curve:
    """Return, after each trial, the test value of the completed one that is best by the objective; NaN before any.

    Trials count in the order in which they ended.
    """
    best, value, curve = math.inf, math.nan, []
    for trial in _ended(trials):
        if trial.state is State.COMPLETED and (loss := objective.loss(trial.values[objective.name])) < best:
            best, value = loss, trial.metrics[test]
        curve.append(value)
    return np.array(curve)


def volume(
    trials: Sequence[Simulated],
    objectives: Sequence[Objective],
    test: str | None,
    bounds: Sequence[tuple[float, float]],
) -> Curve:
    """Return, after each trial, the hypervolume of the front in units of the box between best and worst losses.

    The front is selected by the objectives; with `test` its first objective is then read from the test column.
    `bounds` are (best, worst) losses of each objective over the whole table.
    """
    best, worst = np.array(bounds).T
    front: list[tuple[list[float], list[float]]] = []
    area, curve = 0.0, []
    for trial in _ended(trials):
        if trial.state is State.COMPLETED:
            losses = [each.loss(trial.values[each.name]) for each in objectives]
            if not any(_dominates(other, losses) for other, _ in front):
                front = [pair for pair in front if not _dominates(losses, pair[0])]
                shown = [objectives[0].loss(trial.metrics[test]), *losses[1:]] if test else losses
                front.append((losses, shown))
                scaled = (np.array([point for _, point in front]) - best) / (worst - best)
                area = pareto.hypervolume(scaled, [1.0] * len(objectives))
        curve.append(area)
    return np.array(curve)


def summarise(curves: Sequence[Curve]) -> Summary:
    """Return mean, interval and percentiles over the seeds [seeds, trials]; shorter curves keep their last value."""
    longest = max(map(len, curves))
    table = np.array([np.pad(curve, (0, longest - len(curve)), mode="edge") for curve in curves])
    spread = table.std(axis=0, ddof=1) if len(table) > 1 else np.full(longest, math.nan)
    low, high = np.quantile(table, [0.1, 0.9], axis=0)
    return Summary(table.mean(axis=0), INTERVAL * spread / math.sqrt(len(table)), low, high)


def reached(curves: Sequence[Curve], clocks: Sequence[Sequence[float]], target: float, maximize: bool) -> Reached:
    """Return the share of searches whose curve reached a target, and the median trials and virtual seconds to it.

    `clocks` are the times at which the trials ended, in order.
    """
    trials, seconds = [], []
    for curve, ended in zip(curves, clocks, strict=True):
        there = np.flatnonzero(curve >= target if maximize else curve <= target)
        trials.append(float(there[0] + 1) if len(there) else math.inf)
        seconds.append(ended[there[0]] if len(there) else math.inf)
    share = sum(map(math.isfinite, trials)) / len(trials)
    return Reached(share, _median(trials), _median(seconds))


def _median(values: Sequence[float]) -> float:
    """Return the lower median, which is a value that occurs."""
    return sorted(values)[(len(values) - 1) // 2]


def _ended(trials: Sequence[Simulated]) -> list[Simulated]:
    return sorted(trials, key=lambda trial: (trial.clock, trial.number))


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    return all(a <= b for a, b in zip(one, other, strict=True)) and list(one) != list(other)
