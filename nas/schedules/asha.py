"""Asynchronous successive halving, in its stopping form (Li et al., A System for Massively Parallel

Hyperparameter Tuning, 2020): a trial that reaches a rung goes on if it is in the best 1/eta of those that
reached it so far. With several objectives "best" is the non-dominated rank, and the less crowded first within
a rank (Schmucker et al., Multi-objective Asynchronous Successive Halving, 2021). What is not finite in any
objective is behind all that is.
"""

from __future__ import annotations

from collections.abc import Sequence

from nas.schedules import Schedule, Verdict
from nas.schedules.immediate import Immediate
from nas.schedules.order import places
from nas.schedules.rungs import rungs
from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register
from search_spaces.space import Space


@register(
    "schedule",
    "asha",
    paper="Li et al., A System for Massively Parallel Hyperparameter Tuning, 2020",
    options=Struct(eta=Integer(2, 100)),
)
def asha(epochs: int, space: Space, seed: int, eta: int = 3) -> Schedule:
    """Stop a trial at a rung unless it is in the best 1/eta there, by default the best third.

    Rungs are after epochs E/eta, E/eta^2, ... down to 1, rounded down.
    """
    pauses = rungs(epochs, eta)
    return Immediate(pauses, Halving(pauses, eta))


class Halving:
    """What trials reached at each rung, and who of them goes on."""

    def __init__(self, pauses: Sequence[int], eta: int) -> None:
        self._eta = eta
        self._reached: dict[int, list[list[float]]] = {rung: [] for rung in pauses}

    def note(self, trial: int, step: int, losses: Sequence[float]) -> None:
        self._reached[step].append(list(losses))

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Verdict:
        self.note(trial, step, losses)
        reached = self._reached[step]
        if len(reached) < self._eta:
            return Verdict.CONTINUE
        found = places(reached)
        better = sum(other < found[-1] for other in found)
        return Verdict.CONTINUE if better < len(reached) // self._eta else Verdict.STOP
