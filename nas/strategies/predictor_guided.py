"""Predictor-guided search: of several proposals of another strategy, the most promising one is trained.

Promising are those that rank best by zero-cost predictors (as the assisted searches of GradSign, Zhang and Jia, 2022)
or by a surrogate that learned from the study's own trials: by its expected (hypervolume) improvement, to which the
zero-cost scores are features besides the decisions. Until the surrogate has enough trials the scores alone rank.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from random import Random

from nas.settings import MOST, SettingsError
from nas.strategies import Chooser, Finder, Proposal, Strategy, make_strategy
from nas.strategies.learner import MODEL, Learner, Scores
from predictors.surrogate import MODELS
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.registry import find, register
from search_spaces.space import Space

LEARNED = "surrogate"
NOTE = "zero_cost"


class Guided:
    """Has `candidates` proposals of a strategy ranked, and the best one trained.

    `predictors` are names of zero-cost predictors, whose ranks are averaged, and `surrogate`. A share `exploration`
    of the trials is the strategy's next proposal as it comes.
    """

    def __init__(
        self,
        base: Strategy,
        space: Space,
        objectives: int,
        seed: int,
        predictors: Sequence[str],
        candidates: int,
        exploration: float = 0.0,
        model: str = MODEL,
    ) -> None:
        self._base = base
        self._space = space
        self._seed = seed
        self._candidates = candidates
        self._exploration = exploration
        self._alone = True
        self.predictors = tuple(name for name in predictors if name != LEARNED)
        learner = Learner(space, objectives, seed, model, len(self.predictors))
        self._learner = learner if LEARNED in predictors else None

    def ask(self, turn: int) -> Proposal | None:
        proposal = self._base.ask(turn)
        if proposal is not None and self._alone:
            self._note(proposal)
        return proposal

    def remember(self, proposal: Proposal) -> None:
        self._note(proposal)
        self._base.remember(replace(proposal, note={k: v for k, v in proposal.note.items() if k != NOTE}))

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        if self._learner is not None:
            self._learner.tell(turn, losses, feasible=feasible)
        self._base.tell(turn, losses, feasible=feasible)

    def count(self, turn: int) -> int:
        explores = Random(f"{self._seed}/{turn}/explore").random() < self._exploration
        ranks = self.predictors or (self._learner is not None and self._learner.ready)
        self._alone = explores or not ranks
        return 1 if self._alone else self._candidates

    def choose(self, proposals: Sequence[Proposal], scores: Mapping[str, Sequence[float | None]]) -> int:
        rows = [tuple(_known(scores[name][i]) for name in self.predictors) for i in range(len(proposals))]
        if self._learner is not None and self._learner.ready:
            traces = [self._space.trace(proposal.architecture) for proposal in proposals]
            best = int(self._learner.ranked(traces, rows)[0])
        else:
            best = consensus(rows)
        if self._learner is not None and self.predictors:
            proposals[best].note[NOTE] = list(rows[best])
        self._note(proposals[best])
        return best

    def _note(self, proposal: Proposal) -> None:
        if self._learner is not None:
            trace = self._space.trace(proposal.architecture)
            self._learner.note(proposal.turn, trace, tuple(proposal.note.get(NOTE, ())))


def guided(
    base: Strategy,
    space: Space,
    objectives: int,
    seed: int,
    predictors: str,
    candidates: int,
    exploration: float = 0.0,
    model: str = MODEL,
) -> Guided:
    """Wrap a strategy; `predictors` are names joined by +, as gradsign+surrogate.

    Raises UnknownName, and SettingsError for a strategy whose proposals cannot be chosen among.
    """
    if isinstance(base, Chooser | Finder):
        raise SettingsError(
            f"proposals of {type(base).__name__} cannot be screened, since it chooses among them itself or trains "
            "supernets: use another strategy, as random or tpe"
        )
    names = [name if name == LEARNED else find("predictor", name).name for name in predictors.split("+")]
    if len(set(names)) < len(names):
        raise SettingsError(f"predictors {predictors!r} names one twice: name each once")
    return Guided(base, space, objectives, seed, names, candidates, exploration, model)


@register(
    "strategy",
    "predictor_guided",
    paper="Zhang and Jia, GradSign, 2022; White et al., How Powerful are Performance Predictors in NAS?, 2021",
    options=Struct(candidates=Integer(2, MOST), exploration=Real(0, 1), model=Choice(*MODELS)),
)
def predictor_guided(
    space: Space,
    objectives: int,
    seed: int,
    base: str = "random",
    predictors: str = LEARNED,
    candidates: int = 50,
    exploration: float = 0.1,
    model: str = MODEL,
) -> Strategy:
    """Of many proposals of another strategy, the one that predictors rank best is trained.

    `base` is that strategy with its default options; `predictors` are names of zero-cost predictors and `surrogate`,
    joined by +.
    """
    made = make_strategy(base, space, objectives, seed)
    return guided(made, space, objectives, seed, predictors, candidates, exploration, model)


def consensus(rows: Sequence[Scores]) -> int:
    """Return the index of the best mean rank over all scores; ties share a rank, and what has no score is worst."""
    ranks = [0] * len(rows)
    for column in zip(*rows, strict=True):
        values = [-math.inf if value is None else value for value in column]
        ranks = [rank + sum(other < value for other in values) for rank, value in zip(ranks, values, strict=True)]
    return ranks.index(max(ranks))


def _known(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
