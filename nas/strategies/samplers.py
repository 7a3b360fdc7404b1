"""Optuna's samplers on our trees. The truth stays in our store; the Optuna study lives in memory only.

How a tree is shown to a sampler decides whether its conditional decisions are modelled:

- `tpe` walks the tree as it asks (define by run). Univariate TPE models every decision from the trials in which
  it was active, so conditions hold by construction. Multivariate TPE without groups would model only the
  decisions common to all trials and draw the rest at random.
- `nsga2` and `gp` see every decision of the tree at once, active or not, since both otherwise work on the
  intersection of past trials. Dead genes ride along and take no part in the architecture.
- `cmaes` knows real coordinates alone: numbers are scaled to [0, 1], and a choice of k options is k coordinates,
  of which the largest wins.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, TPESampler
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from nas import pareto
from nas.strategies import Proposal, Strategy
from search_spaces.decisions import Architecture, Choice, Decision, Integer, Scalar, every
from search_spaces.registry import register
from search_spaces.space import Space

optuna.logging.set_verbosity(optuna.logging.ERROR)

TPE_WINDOW = 250
GP_WINDOW = 200


class View(Protocol):
    """How a space is shown to Optuna."""

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        """Ask Optuna for a trial and read the architecture from it."""

    def params(self, proposal: Proposal) -> dict[str, Any]:
        """Return the parameters an earlier proposal had."""

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        """Return the distributions of the named parameters."""


class ByRun:
    """Each decision is a parameter that exists where it is active."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._domains = {path: _distribution(domain) for path, domain in every(space.tree).items()}

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        trial = study.ask()
        return trial, self._space.resolve(lambda path, domain: _suggest(trial, path, domain))[0]

    def params(self, proposal: Proposal) -> dict[str, Any]:
        return self._space.trace(proposal.architecture)

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._domains[name] for name in names}


class Flat:
    """Every decision of the tree is a parameter of every trial; the inactive ones are carried along."""

    def __init__(self, space: Space) -> None:
        self._space = space
        self._domains = {path: _distribution(domain) for path, domain in every(space.tree).items()}

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        trial = study.ask(self._domains)
        genes = trial.params
        return trial, self._space.resolve(lambda path, domain: genes[path])[0]

    def params(self, proposal: Proposal) -> dict[str, Any]:
        return dict(proposal.note["genes"])

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._domains[name] for name in names}


class Keys:
    """Every decision is one coordinate in [0, 1], or one for each option of a choice (random keys)."""

    def __init__(self, space: Space) -> None:
        self._space = space
        unit = FloatDistribution(0.0, 1.0)
        self._domains: dict[str, BaseDistribution] = {
            name: unit for path, domain in every(space.tree).items() for name in _coordinates(path, domain)
        }

    def suggest(self, study: optuna.Study) -> tuple[optuna.Trial, Architecture]:
        trial = study.ask(self._domains)
        keys = trial.params
        return trial, self._space.resolve(lambda path, domain: _decode(path, domain, keys))[0]

    def params(self, proposal: Proposal) -> dict[str, Any]:
        return dict(proposal.note["genes"])

    def distributions(self, names: Mapping[str, Any]) -> dict[str, BaseDistribution]:
        return {name: self._domains[name] for name in names}


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


class Unnumbered(CmaEsSampler):
    """CMA-ES whose draws do not depend on how many proposals came before: dropped ones are not remembered."""

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        unnumbered = copy(trial)
        unnumbered.number = 0
        found: dict[str, Any] = super().sample_relative(study, unnumbered, search_space)
        return found


class FreshFits(GPSampler):
    """Gaussian processes fitted without what was kept of the last fit, since a rebuilt strategy has no last fit.

    One thread: many get in each other's way on so small matrices. Infinite losses count as the worst finite one.
    """

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        import torch

        self._gprs_cache_list = self._constraints_gprs_cache_list = None
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "Clip non-finite values")
                return super().sample_relative(study, trial, search_space)
        finally:
            torch.set_num_threads(threads)


@register("strategy", "tpe", paper="Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011; Watanabe, 2023")
def tpe(space: Space, objectives: int, seed: int) -> Strategy:
    """Tree-structured Parzen estimator, one density a decision, modelled where the decision is active."""
    sampler = TPESampler(multivariate=False, constant_liar=True, seed=_bounded(seed))
    return Sampled(ByRun(space), sampler, objectives, seed, window=TPE_WINDOW, genes=False)


@register("strategy", "nsga2", paper="Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm, 2002")
def nsga2(space: Space, objectives: int, seed: int) -> Strategy:
    """Genetic search by non-dominated sorting and crowding, over all genes of the tree."""
    return Sampled(Flat(space), NSGAIISampler(seed=_bounded(seed)), objectives, seed, window=None, genes=False)


@register("strategy", "gp", paper="Srinivas et al., 2010; Optuna's GPSampler")
def gp(space: Space, objectives: int, seed: int) -> Strategy:
    """Gaussian process over all genes of the tree, with expected (hypervolume) improvement."""
    sampler = FreshFits(seed=_bounded(seed), deterministic_objective=False)
    return Sampled(Flat(space), sampler, objectives, seed, window=GP_WINDOW, genes=True, bound=math.inf)


@register(
    "strategy", "cmaes", paper="Hansen, The CMA Evolution Strategy: A Tutorial, 2016", lacks=["several objectives"]
)
def cmaes(space: Space, objectives: int, seed: int) -> Strategy:
    """Covariance matrix adaptation over random keys; for one objective."""
    sampler = Unnumbered(seed=_bounded(seed), warn_independent_sampling=False)
    return Sampled(Keys(space), sampler, objectives, seed, window=None, genes=False)


def _distribution(domain: Decision) -> BaseDistribution:
    if isinstance(domain, Choice):
        return CategoricalDistribution(domain.options)
    if isinstance(domain, Integer):
        return IntDistribution(domain.low, domain.high, log=domain.log, step=domain.step)
    return FloatDistribution(domain.low, domain.high, log=domain.log)


def _suggest(trial: optuna.Trial, path: str, domain: Decision) -> Scalar:
    if isinstance(domain, Choice):
        return trial.suggest_categorical(path, domain.options)
    if isinstance(domain, Integer):
        return trial.suggest_int(path, domain.low, domain.high, step=domain.step, log=domain.log)
    return trial.suggest_float(path, domain.low, domain.high, log=domain.log)


def _coordinates(path: str, domain: Decision) -> list[str]:
    return [f"{path}={i}" for i in range(len(domain.options))] if isinstance(domain, Choice) else [path]


def _decode(path: str, domain: Decision, keys: Mapping[str, float]) -> Scalar:
    if isinstance(domain, Choice):
        strengths = [keys[name] for name in _coordinates(path, domain)]
        return domain.options[strengths.index(max(strengths))]
    share = keys[path]
    if isinstance(domain, Integer) and not domain.log:
        return domain.low + domain.step * min(int(share * domain.size()), domain.size() - 1)
    half = 0.5 if isinstance(domain, Integer) else 0.0
    low, high = domain.low - half, domain.high + half
    value = math.exp(math.log(low) + share * math.log(high / low)) if domain.log else low + share * (high - low)
    bounded = min(max(value, domain.low), domain.high)
    return min(max(round(bounded), domain.low), domain.high) if isinstance(domain, Integer) else bounded


def _bounded(seed: int) -> int:
    """Bring any seed to what numpy takes."""
    return seed % 2**32


def _reseed(sampler: BaseSampler, seed: int) -> None:
    """Set every random state of a sampler, since Optuna's own `reseed_rng` takes no seed."""
    for name in ("_rng", "_cma_rng"):
        if hasattr(sampler, name):
            getattr(sampler, name).rng.seed(seed)
    for name in ("_random_sampler", "_independent_sampler"):
        if hasattr(sampler, name):
            _reseed(getattr(sampler, name), seed)
