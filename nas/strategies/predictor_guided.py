"""Predictor-guided search: of several proposals of another strategy, the most promising one is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from nas.strategies import Proposal, Strategy


class Guided:
    """Has `candidates` proposals of a strategy ranked by zero-cost predictors, and the best one trained."""

    def __init__(self, base: Strategy, seed: int, predictors: tuple[str, ...], candidates: int) -> None:
        self._base = base
        self._seed = seed
        self._candidates = candidates
        self.predictors = predictors

    def ask(self, turn: int) -> Proposal:
        return self._base.ask(turn)

    def remember(self, proposal: Proposal) -> None:
        self._base.remember(proposal)

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        self._base.tell(turn, losses, feasible=feasible)

    def count(self, turn: int) -> int:
        return self._candidates

    def choose(self, proposals: Sequence[Proposal], scores: Mapping[str, Sequence[float | None]]) -> int:
        (values,) = scores.values()
        ranked = [-math.inf if value is None or math.isnan(value) else value for value in values]
        return ranked.index(max(ranked))
