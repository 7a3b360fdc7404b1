"""Asynchronous successive halving, in its stopping form (Li et al., A System for Massively Parallel

Hyperparameter Tuning, 2020): a trial that reaches a rung goes on if it is in the best 1/eta of those that
reached it so far. With several objectives "best" is the non-dominated rank, and the less crowded first within
a rank (Schmucker et al., Multi-objective Asynchronous Successive Halving, 2021). What is not finite in any
objective is behind all that is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from nas import pareto
from nas.schedules import Verdict
from search_spaces.registry import register

ETA = 3


@register("schedule", "asha", paper="Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020")
class Asha:
    """Stop a trial at a rung unless it is in the best third there; rungs at epochs E/3, E/9, ... down to 1."""

    def __init__(self, epochs: int) -> None:
        rungs = [epochs // ETA**power for power in range(1, epochs)]
        self.pauses = frozenset(rung for rung in rungs if rung >= 1)
        self._reached: dict[int, list[list[float]]] = {rung: [] for rung in self.pauses}

    def judge(self, step: int, losses: Sequence[float]) -> Verdict:
        reached = self._reached[step]
        reached.append(list(losses))
        if len(reached) < ETA:
            return Verdict.CONTINUE
        finite = [all(map(math.isfinite, each)) for each in reached]
        fitness = [(not sound, *each) for sound, each in zip(finite, pareto.fitness(reached), strict=True)]
        better = sum(other < fitness[-1] for other in fitness)
        return Verdict.CONTINUE if better < len(reached) // ETA else Verdict.STOP
