"""For tests of trainings: evaluations that are run to their end, or killed on the way."""

from __future__ import annotations

from typing import Any

import torch

from nas.job import Job, Outcome, Report
from nas.training.evaluate import evaluate


class Killed(BaseException):
    """What stands for the death of a worker."""


def finish(asked: Job, stop_after: int | None = None) -> tuple[list[Report], Outcome | None]:
    """Run a job to its end, or kill it right after the report of an epoch."""
    run, reports = evaluate(asked), []
    while True:
        try:
            reports.append(next(run))
        except StopIteration as end:
            return reports, end.value
        torch.rand(3)
        if reports[-1].step == stop_after:
            run.close()
            return reports, None


def timeless(reports: list[Report]) -> list[tuple[int, dict[str, float]]]:
    return [(r.step, {n: v for n, v in r.metrics.items() if n != "seconds"}) for r in reports]


def steps(reports: list[Report]) -> list[int]:
    return [report.step for report in reports]


def same(one: Any, other: Any) -> bool:
    """Whether two states, of tensors at any depth, are the same bit for bit."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else bool(one == other)
