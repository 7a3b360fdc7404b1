"""Predictor-guided search: of several proposals of another strategy, the most promising one is trained.

Which predictors judge the proposals is written in one way, here and in the short form of `--screen`:

    gradsign                     one zero-cost predictor (as the assisted searches of GradSign, Zhang and Jia, 2022)
    gradsign+synflow             the mean of their ranks among the proposals
    learned:gradsign+synflow     the same with weights learned on the study's own trials
    surrogate                    learned from the decisions of the study's own trials, by expected improvement
    consensus+surrogate          the same with the scores, and the parts of a combination, as features besides

Ranks, and the scores of a combination such as `consensus`, are those among the proposals of one choice. Learned weights
(see `predictors.ensemble`) belong to ranks among the study's trials and the proposals together; what they are fitted to
is the trials' loss, with several objectives their non-dominated rank, and trials that were not scored are left out.
Until the surrogate has enough trials the scores alone rank; without scores the proposals are trained as they come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from nas import pareto
from nas.settings import MOST, SURROGATE, Ensemble, SettingsError
from nas.strategies import Chooser, Finder, Measured, Proposal, Strategy, make_strategy
from nas.strategies.learner import MODEL, Learner, Scores
from predictors.ensemble import by_rank, learn
from predictors.surrogate import MODELS
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.registry import register
from search_spaces.space import Space

if TYPE_CHECKING:
    from predictors import Column, Predictor

NOTE = "zero_cost"


class Guided:
    """Has `candidates` proposals of a strategy ranked, and the best one trained.

    A share `exploration` of the trials is the strategy's next proposal as it comes.
    """

    def __init__(
        self,
        base: Strategy,
        space: Space,
        objectives: int,
        seed: int,
        ensemble: Ensemble,
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
        self._weighs, self._models = ensemble.learned, SURROGATE in ensemble.names
        self.predictors = tuple(name for name in ensemble.names if name != SURROGATE)
        self._scorers = [_predictor(name) for name in self.predictors]
        self._columns = [column for each in self._scorers for column in each.columns]
        learner = Learner(space, objectives, seed, model, len(self._columns))
        self._learner = learner if self._weighs or self._models else None

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
        self._alone = explores or not (self.predictors or self._model_ready)
        return 1 if self._alone else self._candidates

    def choose(self, proposals: Sequence[Proposal], measured: Sequence[Measured]) -> int:
        rows = [tuple(_known(each.get(column)) for column in self._columns) for each in measured]
        best = self._modelled(proposals, rows) if self._model_ready else self._combined(rows)
        if self._learner is not None and self.predictors:
            proposals[best].note[NOTE] = list(rows[best])
        self._note(proposals[best])
        return best

    @property
    def _model_ready(self) -> bool:
        return self._models and self._learner is not None and self._learner.ready

    def _modelled(self, proposals: Sequence[Proposal], rows: Sequence[Scores]) -> int:
        """Return the index of the proposal that the surrogate finds most promising."""
        assert self._learner is not None
        traces = [self._space.trace(proposal.architecture) for proposal in proposals]
        return int(self._learner.ranked(traces, rows)[0])

    def _combined(self, rows: Sequence[Scores]) -> int:
        """Return the index of the proposal whose scores rank best; of equal ones the first."""
        trials = self._learner.scored() if self._weighs and self._learner is not None else []
        columns = self._pooled([*(each.scores for each in trials), *rows])
        told = [column[: len(trials)] for column in columns]
        combine = learn(told, pareto.ranks([each.losses for each in trials])) if trials else by_rank
        scores = combine(columns)[len(trials) :]
        return scores.index(max(scores))

    def _pooled(self, rows: Sequence[Scores]) -> list[Column]:
        """Return the scores [predictors][rows] of what was measured, by row and column."""
        measured = dict(zip(self._columns, map(list, zip(*rows, strict=True)), strict=True))
        return [each.pooled(measured) for each in self._scorers]

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
    *,
    name: str,
) -> Guided:
    """Wrap a strategy of a name; `predictors` is the text of an Ensemble, as gradsign+surrogate.

    Raises UnknownName, and SettingsError for a text that makes no sense and for a strategy whose proposals cannot be
    chosen among.
    """
    if isinstance(base, Chooser | Finder):
        raise SettingsError(
            f"proposals of {name} cannot be screened, since it chooses among them itself or trains "
            "supernets: use another strategy, as random or tpe"
        )
    return Guided(base, space, objectives, seed, Ensemble.parse(predictors), candidates, exploration, model)


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
    predictors: str = SURROGATE,
    candidates: int = 50,
    exploration: float = 0.1,
    model: str = MODEL,
) -> Strategy:
    """Of many proposals of another strategy, the one that predictors rank best is trained.

    `base` is that strategy with its default options. `predictors` are names of zero-cost predictors, whose ranks are
    averaged, joined by +, as gradsign+synflow; learned:gradsign+synflow weighs them by the study's own trials, and
    surrogate, alone or as consensus+surrogate, learns from decisions and scores.
    """
    made = make_strategy(base, space, objectives, seed)
    return guided(made, space, objectives, seed, predictors, candidates, exploration, model, name=base)


def _predictor(name: str) -> Predictor:
    from nas.scoring import find_predictor  # imports torch

    return find_predictor(name)


def _known(score: float | None) -> float | None:
    return score if score is not None and math.isfinite(score) else None
