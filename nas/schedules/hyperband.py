"""Hyperband (Li et al., Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, 2018).

With R epochs and s_max = floor(log_eta R), brackets s = s_max, s_max - 1, ..., 0 follow one another and then begin
anew. Bracket s takes the next ceil((s_max + 1) / (s + 1) * eta^s) trials and halves them successively at its rungs,
R / eta^s, ..., R / eta epochs, rounded down: each rung lets the best 1/eta go on, so that every bracket costs about
(s_max + 1) * R epochs. Bracket 0 trains all of its trials in full.

Halving is synchronous, as in the paper: a trial waits at a rung until all of its bracket have arrived there or ended.
Trials that ended by themselves count among those that are compared, as the worst. With several objectives the best
are those of the lowest non-dominated rank, and of them the least crowded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle

from nas.schedules import Decided, Fork, Verdict
from nas.schedules.order import places
from nas.schedules.rungs import rungs
from search_spaces.decisions import Architecture, Integer, Struct
from search_spaces.registry import register
from search_spaces.space import Space


@dataclass
class Bracket:
    """Trials, at most `size`, that are halved at rungs: `racing` are under way to the next one, of `cohort` in all."""

    size: int
    rungs: list[int]
    final: bool = False
    cohort: int = 0
    racing: set[int] = field(default_factory=set)
    arrived: dict[int, list[float]] = field(default_factory=dict)

    def add(self, trial: int) -> None:
        self.cohort += 1
        self.racing.add(trial)
        self.final = self.cohort == self.size

    def arrive(self, trial: int, losses: Sequence[float]) -> None:
        self.racing.discard(trial)
        self.arrived[trial] = list(losses)

    def leave(self, trial: int) -> None:
        self.racing.discard(trial)
        self.arrived.pop(trial, None)

    def halve(self, eta: int) -> list[tuple[int, Decided]]:
        """Decide the next rung once all have come that will: the best 1/eta go on, and at least one."""
        if not self.final or self.racing or not self.arrived:
            return []
        keys = dict(zip(self.arrived, places(list(self.arrived.values())), strict=True))
        ordered = sorted(self.arrived, key=lambda trial: (keys[trial], trial))
        best = set(ordered[: max(1, self.cohort // eta)])
        self.rungs.pop(0)
        self.cohort, self.racing, self.arrived = len(best), best, {}
        return [(trial, Verdict.CONTINUE if trial in best else Verdict.STOP) for trial in ordered]


@register(
    "schedule",
    "hyperband",
    paper="Li et al., Hyperband: A Novel Bandit-Based Approach to Hyperparameter Optimization, 2018",
    options=Struct(eta=Integer(2, 100)),
)
class Hyperband:
    """Brackets of trials, each of which lets the best 1/eta go on at its rungs; by default the best third.

    A bracket that is not full when no more trials come is halved as it is; trials that come later begin the next one.
    """

    retains = False

    def __init__(self, epochs: int, space: Space, seed: int, eta: int = 3) -> None:
        self._eta = eta
        self._rungs = rungs(epochs, eta)
        self.pauses = frozenset(self._rungs)
        self._order = cycle(range(len(self._rungs), -1, -1))
        self._bracket = Bracket(0, [], final=True)
        self._home: dict[int, Bracket] = {}
        self._released: list[tuple[int, Decided]] = []

    def began(
        self, trial: int, architecture: Architecture, fork: Fork | None = None, replaced: int | None = None
    ) -> None:
        if self._bracket.final:
            s, highest = next(self._order), len(self._rungs)
            size = -(-(highest + 1) * self._eta**s // (s + 1))
            self._bracket = Bracket(size, self._rungs[:s][::-1])
        self._bracket.add(trial)
        self._home[trial] = self._bracket

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Decided:
        bracket = self._home[trial]
        if step not in bracket.rungs:
            return Verdict.CONTINUE
        bracket.arrive(trial, losses)
        self._settle(bracket)
        return Verdict.PAUSE

    def ended(self, trial: int) -> None:
        bracket = self._home[trial]
        bracket.leave(trial)
        self._settle(bracket)

    def closing(self) -> None:
        self._bracket.final = True
        self._settle(self._bracket)

    def released(self) -> list[tuple[int, Decided]]:
        released, self._released = self._released, []
        return released

    def _settle(self, bracket: Bracket) -> None:
        self._released += bracket.halve(self._eta)
