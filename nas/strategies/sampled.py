"""A strategy around an Optuna sampler. The truth stays in our store; the Optuna study lives in memory only."""

from __future__ import annotations

import math
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

    A trial that is remembered is given to Optuna at the next ask, since that costs far more than to note it: most of
    a long study has left the window by then.
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
        self._given = 0
        self._late: list[Late | FrozenTrial] = []
        self._open: dict[int, Open] = {}
        self._judged = 0

    def ask(self, turn: int) -> Proposal:
        self._give()
        _reseed(self._sampler, Random(f"{self._seed}/{turn}").getrandbits(32))
        trial, architecture = self._view.suggest(self._study)
        params = trial.params
        self._open[turn] = Open(self._given, params)
        self._given += 1
        return Proposal(turn, architecture, {"genes": params} if self._genes else {})

    def remember(self, proposal: Proposal) -> None:
        if self._genes or isinstance(self._view, ByRun):
            self._open[proposal.turn] = Open(self._given + len(self._late), proposal)
            self._late.append(Late(TrialState.RUNNING, proposal))
        elif self.ask(proposal.turn).architecture != proposal.architecture:
            self.tell(proposal.turn, None)
            warnings.warn(
                "the sampler answers otherwise than when this study began; it goes on from here", stacklevel=2
            )

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        told = self._open.pop(turn, None)
        if told is None:
            return
        bound = self._bound
        self._end(told.number, [float(min(max(loss, -bound), bound)) for loss in losses] if losses else None)
        if not feasible:
            self._late.append(Late(TrialState.PRUNED, told.source, constraints={"feasible": 1.0}))
        self._judged += losses is not None
        self._judged += not feasible
        if self._window is not None and self._judged >= 2 * self._window:
            self._shrink(self._window)

    def _end(self, number: int, values: list[float] | None) -> None:
        """Let a trial be complete; one without values, or with one that is no number, has failed."""
        if values is not None and any(map(math.isnan, values)):
            values = None
        state = TrialState.FAIL if values is None else TrialState.COMPLETE
        late = None if number < self._given else self._late[number - self._given]
        if isinstance(late, Late):
            late.state, late.values = state, values
        else:
            self._give()
            self._study.tell(number, values, state=state)

    def _give(self) -> None:
        """Let Optuna have the trials that it has not seen yet."""
        for late in self._late:
            self._study.add_trial(late if isinstance(late, FrozenTrial) else self._frozen(late))
        self._given += len(self._late)
        self._late = []

    def _frozen(self, late: Late) -> FrozenTrial:
        source = late.source
        params = self._view.params(source) if isinstance(source, Proposal) else source
        distributions = self._view.distributions(params)
        return create_trial(
            state=late.state,
            params=params,
            distributions=distributions,
            values=late.values,
            constraints=late.constraints,
        )

    def _shrink(self, window: int) -> None:
        trials = [*self._study.get_trials(deepcopy=False), *self._late]
        judged = [i for i, trial in enumerate(trials) if trial.state in (TrialState.COMPLETE, TrialState.PRUNED)]
        older, recent = judged[: -(window // 2)], judged[-(window // 2) :]
        losses = {i: trials[i].values or [] for i in older if trials[i].state == TrialState.COMPLETE}
        ranked = sorted(zip(pareto.fitness(list(losses.values())), losses, strict=True))
        best = [i for _, i in ranked[: window - window // 2]]
        kept = {*recent, *best, *(told.number for told in self._open.values())}
        places = {number: place for place, number in enumerate(sorted(kept))}
        self._open = {turn: Open(places[told.number], told.source) for turn, told in self._open.items()}
        self._study = optuna.create_study(directions=self._directions, sampler=self._sampler)
        self._given, self._late = 0, [trials[number] for number in places]
        self._judged = len(recent) + len(best)


@dataclass(slots=True)
class Late:
    """A trial that Optuna has not been given yet: its parameters, or the proposal that says them, and how it ended."""

    state: TrialState
    source: Proposal | dict[str, Any]
    values: list[float] | None = None
    constraints: dict[str, float] | None = None


@dataclass(slots=True)
class Open:
    """A proposal not yet told of: its place among all trials, and its parameters or what says them."""

    number: int
    source: Proposal | dict[str, Any]


def _reseed(sampler: BaseSampler, seed: int) -> None:
    """Set every random state of a sampler, since Optuna's own `reseed_rng` takes no seed."""
    for name in ("_rng", "_cma_rng"):
        if hasattr(sampler, name):
            getattr(sampler, name).rng.seed(seed)
    for name in ("_random_sampler", "_independent_sampler"):
        if hasattr(sampler, name):
            _reseed(getattr(sampler, name), seed)
