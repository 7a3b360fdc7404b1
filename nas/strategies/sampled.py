"""A strategy around an Optuna sampler. The truth stays in our store; the Optuna study lives in memory only."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import optuna
from optuna.samplers import BaseSampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas import pareto
from nas.strategies import Proposal
from nas.strategies.views import ByRun, View

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sampled:
    """A strategy around an Optuna sampler.

    `window` bounds what the sampler sees, and so what an ask costs: when twice as many trials are judged or found
    infeasible, the better half of the window by non-dominated rank and crowding and the most recent half stay.
    `genes` keeps each proposal's parameters in its note; without it, `remember` asks the sampler again, which
    answers alike. `bound` is the greatest loss that the sampler can compute with.
    """

    def __init__(
        self,
        view: View,
        sampler: BaseSampler,
        objectives: int,
        seed: int,
        *,
        window: int | None,
        genes: bool,
        bound: float = 1e30,
    ) -> None:
        self._view = view
        self._sampler = sampler
        self._directions = [StudyDirection.MINIMIZE] * objectives
        self._seed = seed
        self._window = window
        self._genes = genes
        self._bound = bound
        self._study = optuna.create_study(directions=self._directions, sampler=sampler)
        self._open: dict[int, Open] = {}
        self._count = 0
        self._judged = 0

    def ask(self, turn: int) -> Proposal:
        _reseed(self._sampler, Random(f"{self._seed}/{turn}").getrandbits(32))
        trial, architecture = self._view.suggest(self._study)
        params = trial.params
        self._note(turn, params)
        return Proposal(turn, architecture, {"genes": params} if self._genes else {})

    def remember(self, proposal: Proposal) -> None:
        if self._genes or isinstance(self._view, ByRun):
            params = self._view.params(proposal)
            self._study.add_trial(self._frozen(TrialState.RUNNING, params))
            self._note(proposal.turn, params)
        elif self.ask(proposal.turn).architecture != proposal.architecture:
            self.tell(proposal.turn, None)
            warnings.warn(
                "the sampler answers otherwise than when this study began; it goes on from here", stacklevel=2
            )

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        told = self._open.pop(turn, None)
        if told is None:
            return
        if losses is not None:
            self._study.tell(told.number, [min(max(loss, -self._bound), self._bound) for loss in losses])
            self._judged += 1
        else:
            self._study.tell(told.number, state=TrialState.FAIL)
        if not feasible:
            self._study.add_trial(self._frozen(TrialState.PRUNED, told.params, {"feasible": 1.0}))
            self._count += 1
            self._judged += 1
        if self._window is not None and self._judged >= 2 * self._window:
            self._shrink(self._window)

    def _note(self, turn: int, params: dict[str, Any]) -> None:
        self._open[turn] = Open(self._count, params)
        self._count += 1

    def _frozen(
        self, state: TrialState, params: dict[str, Any], constraints: dict[str, float] | None = None
    ) -> FrozenTrial:
        distributions = self._view.distributions(params)
        return create_trial(state=state, params=params, distributions=distributions, constraints=constraints)

    def _shrink(self, window: int) -> None:
        trials = self._study.get_trials(deepcopy=False)
        judged = [trial for trial in trials if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        older, recent = judged[: -(window // 2)], judged[-(window // 2) :]
        older = [trial for trial in older if trial.state == TrialState.COMPLETE]
        fitness = pareto.fitness([trial.values for trial in older])
        best = sorted(range(len(older)), key=fitness.__getitem__)[: window - window // 2]
        kept = {trial.number for trial in recent} | {older[i].number for i in best}
        turns = {told.number: turn for turn, told in self._open.items()}
        self._study = optuna.create_study(directions=self._directions, sampler=self._sampler)
        self._count, self._judged = 0, len(kept)
        for trial in trials:
            if trial.number in turns:
                self._note(turns[trial.number], self._open[turns[trial.number]].params)
            elif trial.number in kept:
                self._count += 1
            else:
                continue
            self._study.add_trial(trial)


@dataclass(frozen=True)
class Open:
    """A proposal not yet told of: its number in the Optuna study and its parameters."""

    number: int
    params: dict[str, Any]


def _reseed(sampler: BaseSampler, seed: int) -> None:
    """Set every random state of a sampler, since Optuna's own `reseed_rng` takes no seed."""
    for name in ("_rng", "_cma_rng"):
        if hasattr(sampler, name):
            getattr(sampler, name).rng.seed(seed)
    for name in ("_random_sampler", "_independent_sampler"):
        if hasattr(sampler, name):
            _reseed(getattr(sampler, name), seed)
