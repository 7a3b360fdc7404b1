"""The result of a comparison: as data, and as the rows of a table."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nas.comparison.curves import Curve, Reached, Summary, reached, summarise
from nas.comparison.runs import Plan, Ran

MARKS = (10, 25, 50, 100, 200, 300, 500, 1000, 2000, 5000, 10000)


@dataclass(frozen=True)
class Line:
    """One strategy with so many workers: its curves over the seeds."""

    strategy: str
    workers: int
    seeds: int
    best: Summary | None
    volume: Summary | None
    target: Reached | None

    @property
    def name(self) -> str:
        return self.strategy if self.workers == 1 else f"{self.strategy}, {self.workers} workers"


@dataclass(frozen=True)
class Comparison:
    """All lines with what they are of: the table's name, the test column, and the target if there is one."""

    plan: Plan
    lines: list[Line]
    target: float | None

    @property
    def marks(self) -> list[int]:
        """The numbers of trials at which a table shows the curves."""
        trials = self.plan.settings.trials
        return [*(mark for mark in MARKS if mark < trials), trials]


def summary(plan: Plan, found: Mapping[tuple[str, int], Sequence[Ran]], target: float | None) -> Comparison:
    """Reduce the searches of a comparison to one line for each strategy and number of workers."""
    return Comparison(plan, [_line(plan, key, runs, target) for key, runs in found.items()], target)


def record(comparison: Comparison) -> dict[str, Any]:
    """Return a comparison as plain data, its curves in full."""
    settings = comparison.plan.settings
    return {
        "space": settings.space,
        "task": settings.task,
        "objectives": list(settings.objectives),
        "test": comparison.plan.test,
        "trials": settings.trials,
        "target": comparison.target,
        "strategies": [
            {
                "strategy": line.strategy,
                "workers": line.workers,
                "seeds": line.seeds,
                "best": _plain(line.best),
                "hypervolume": _plain(line.volume),
                "target": asdict(line.target) if line.target else None,
            }
            for line in comparison.lines
        ],
    }


def cell(curves: Summary, trials: int) -> str:
    """Write a curve's mean with its interval after so many trials; a dash where it has none."""
    index = min(trials, len(curves.mean)) - 1
    mean, interval = curves.mean[index], curves.interval[index]
    if math.isnan(mean):
        return "-"
    places = 2 if abs(mean) >= 10 else 3
    return f"{mean:.{places}f}" + ("" if math.isnan(interval) else f" ±{interval:.{places}f}")


def _line(plan: Plan, key: tuple[str, int], runs: Sequence[Ran], target: float | None) -> Line:
    best, volume = _present([run.best for run in runs]), _present([run.volume for run in runs])
    first = plan.objectives[0]
    there = reached(best, [run.clocks for run in runs], target, first.maximize) if best and target is not None else None
    return Line(*key, len(runs), summarise(best) if best else None, summarise(volume) if volume else None, there)


def _present(curves: Sequence[Curve | None]) -> list[Curve]:
    return [curve for curve in curves if curve is not None]


def _plain(curves: Summary | None) -> dict[str, list[float]] | None:
    return {name: values.tolist() for name, values in vars(curves).items()} if curves else None
