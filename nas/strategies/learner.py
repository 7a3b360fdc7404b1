"""What a strategy learns from a study's judged trials: a surrogate, and from it which candidates are promising.

All follows from the order of proposals and tells: on which trials the surrogate is fitted, when, and with which seed.
So one that is rebuilt from a study's history is the same. What it costs stays flat: a fit sees at most WINDOW trials,
the better half by non-dominated rank and crowding and the most recent half; from EAGER trials on the number of trials
between two fits grows with the study.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray

from nas import pareto
from nas.strategies.acquisition import Array, expected_improvement, reference_point
from nas.strategies.encoding import Encoding, Row
from predictors import surrogate
from search_spaces.decisions import Trace
from search_spaces.space import Space

WINDOW = 250
EAGER = 50
MODEL = "average"

Scores = tuple[float | None, ...]


@dataclass(frozen=True)
class Trial:
    """A proposal: its trace, what a surrogate sees of it, and its losses once it is judged."""

    turn: int
    trace: Trace
    row: Row
    scores: Scores
    losses: tuple[float, ...] = ()


class Learner:
    """Keeps proposals and how they did, and ranks others by their expected (hypervolume) improvement.

    `predictors` is the number of zero-cost scores that proposals may have; they are features besides the decisions.
    A proposal that broke a constraint counts as the worst in every objective.
    """

    def __init__(self, space: Space, objectives: int, seed: int, model: str = MODEL, predictors: int = 0) -> None:
        self._objectives = objectives
        self._seed = seed
        self._model = model
        self._predictors = predictors
        self._encoding = Encoding(space.tree)
        self._pending: dict[int, Trial] = {}
        self._keys: set[int] = set()
        self._count = 0
        self._next_fit = surrogate.MINIMUM
        self._judged: list[Trial] = []
        self._learned: list[Trial] = []
        self._surrogate: surrogate.Surrogate | None = None

    @property
    def ready(self) -> bool:
        """Say whether there is something to learn from: enough trials, and not all of one worth."""
        return any(math.isfinite(sum(each.losses)) for each in self._learned) and len(set(self._losses())) > 1

    def note(self, turn: int, trace: Trace, scores: Scores = ()) -> None:
        """Take note of a proposal that is to be judged."""
        self._pending[turn] = Trial(turn, trace, self._encoding.row(trace), scores or (None,) * self._predictors)

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool) -> None:
        """Learn how a proposal did; without losses, though feasible, it is as if it had never been."""
        told = self._pending.pop(turn, None)
        if told is None or (losses is None and feasible) or _key(told.trace) in self._keys:
            return
        worst = (math.inf,) * self._objectives
        found = worst if losses is None else tuple(losses)
        self._keys.add(_key(told.trace))
        self._judged.append(Trial(turn, told.trace, told.row, told.scores, found))
        self._count += 1
        if self._count >= self._next_fit:
            self._judged = _window(self._judged)
            self._learned, self._surrogate = list(self._judged), None
            self._next_fit = self._count + max(1, self._count // EAGER)

    def fresh(self, trace: Trace) -> bool:
        """Say whether such a proposal is neither judged nor under way."""
        return _key(trace) not in self._keys and all(each.trace != trace for each in self._pending.values())

    def best(self, count: int) -> list[Trial]:
        """Return the best trials that are remembered, by non-dominated rank and crowding."""
        order = pareto.fitness([each.losses for each in self._judged])
        return [self._judged[i] for i in sorted(range(len(order)), key=order.__getitem__)[:count]]

    def scored(self) -> list[Trial]:
        """Return the judged trials that are remembered and have scores."""
        return [each for each in self._judged if any(score is not None for score in each.scores)]

    def ranked(self, traces: Sequence[Trace], scores: Sequence[Scores] | None = None) -> NDArray[np.intp]:
        """Return the indices of candidates, the most promising first.

        What is under way counts as known with its predicted losses, and candidates near to it count less: by
        1 - exp(-d^2), d the distance of their rows, in which one other option is 1.
        """
        learned = self._fitted()
        rows = np.array([self._encoding.row(trace) for trace in traces])
        means, spreads = learned.predict(self._features(rows, scores or [(None,) * self._predictors] * len(rows)))
        known = learned.scaled(np.array([each.losses for each in self._judged]))
        pending = list(self._pending.values())
        nearness = np.zeros(len(rows))
        if pending:
            known = np.concatenate([known, learned.predict(self._of(pending))[0]])
            nearness = np.exp(-np.min([((rows - each.row) ** 2).sum(axis=1) for each in pending], axis=0))
        gains = expected_improvement(means, spreads, known, reference_point(known)) * (1 - nearness)
        return np.lexsort((means.sum(axis=1), -gains))

    def _fitted(self) -> surrogate.Surrogate:
        """Fit the surrogate where trials came since, with a seed for their number."""
        if self._surrogate is None:
            seed = Random(f"{self._seed}/fit/{self._learned[-1].turn}").getrandbits(32)
            losses = np.array([each.losses for each in self._learned])
            self._surrogate = surrogate.fit(self._of(self._learned), losses, self._model, seed)
        return self._surrogate

    def _of(self, trials: Sequence[Trial]) -> Array:
        return self._features(np.array([each.row for each in trials]), [each.scores for each in trials])

    def _features(self, rows: Array, scores: Sequence[Scores]) -> Array:
        """Add to rows each score's rank among those learned from, from 0 to 1; in the middle where there is none."""
        ranks = np.full((len(rows), self._predictors), 0.5)
        for k in range(self._predictors):
            known = np.sort([value for each in self._learned if (value := each.scores[k]) is not None])
            if len(known) >= surrogate.MINIMUM:
                values = [each[k] for each in scores]
                given = [i for i, value in enumerate(values) if value is not None]
                asked = np.array([values[i] for i in given], dtype=float)
                sides = [np.searchsorted(known, asked, side) for side in ("left", "right")]
                ranks[given, k] = (sides[0] + sides[1]) / (2 * len(known))
        return np.concatenate([rows, ranks], axis=1)

    def _losses(self) -> list[tuple[float, ...]]:
        return [each.losses for each in self._learned]


def _window(trials: list[Trial]) -> list[Trial]:
    """Keep the better half of a window and the most recent half, in their order."""
    if len(trials) <= WINDOW:
        return trials
    older, recent = trials[: -(WINDOW // 2)], trials[-(WINDOW // 2) :]
    order = pareto.fitness([each.losses for each in older])
    best = sorted(range(len(older)), key=order.__getitem__)[: WINDOW - WINDOW // 2]
    return [older[i] for i in sorted(best)] + recent


def _key(trace: Trace) -> int:
    return hash(tuple(trace.items()))
