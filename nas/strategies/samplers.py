"""Optuna's samplers on our trees: how each is shown a tree decides whether conditional decisions are modelled.

- `tpe` sees them by run. Univariate TPE models every decision from the trials in which it was active, so conditions
  hold by construction. Multivariate TPE without groups would model only the decisions common to all trials and draw
  the rest at random.
- `nsga2`, `nsga3` and `gp` see a flat tree, since they work on the intersection of past trials.
- `cmaes` sees coordinates.

What broke a constraint is known to `tpe` as that. The others know it as no trial: it never becomes a parent, and no
model is fitted to it.
"""

from __future__ import annotations

import math
import warnings
from copy import copy
from random import Random
from typing import Any

import optuna
from optuna.samplers import CmaEsSampler, GPSampler, NSGAIIISampler, NSGAIISampler, TPESampler
from optuna.trial import FrozenTrial

from nas.strategies import Strategy
from nas.strategies.sampled import Sampled
from nas.strategies.views import ByRun, Flat, Keys
from search_spaces.decisions import Choice, Integer, Real, Struct, every
from search_spaces.registry import register
from search_spaces.space import Space

TPE_WINDOW = 250
GP_WINDOW = 200


class Unnumbered(CmaEsSampler):
    """CMA-ES whose draws do not depend on how many proposals came before: dropped ones are not remembered."""

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, Any]) -> dict[str, Any]:
        unnumbered = copy(trial)
        unnumbered.number = 0
        found: dict[str, Any] = super().sample_relative(study, unnumbered, search_space)
        return found


class Niched(NSGAIIISampler):
    """NSGA-III whose choice of parents is drawn by the generation's number, whichever ask it is that begins it."""

    def __init__(self, seed: int, **options: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            super().__init__(seed=seed, **options)
        self._seed = seed

    def select_parent(self, study: optuna.Study, generation: int) -> list[FrozenTrial]:
        state = self._rng.rng.get_state()
        self._rng.rng.seed(Random(f"{self._seed}/generation/{generation}").getrandbits(32))
        chosen: list[FrozenTrial] = super().select_parent(study, generation)
        self._rng.rng.set_state(state)
        return chosen


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


@register(
    "strategy",
    "tpe",
    paper="Bergstra et al., Algorithms for Hyper-Parameter Optimization, 2011; Watanabe, 2023",
    options=Struct(
        startup=Integer(1, 10_000),
        candidates=Integer(1, 1000),
        window=Integer(10, 10_000),
    ),
)
def tpe(
    space: Space, objectives: int, seed: int, *, startup: int = 10, candidates: int = 24, window: int = TPE_WINDOW
) -> Strategy:
    """Tree-structured Parzen estimator, one density a decision, modelled where the decision is active.

    The first `startup` are drawn at random; then each decision is the best of `candidates` drawn for it. It looks at
    the `window` best and latest trials, or up to twice as many.
    """
    sampler = TPESampler(
        n_startup_trials=startup,
        n_ei_candidates=candidates,
        multivariate=False,
        constant_liar=True,
        seed=_bounded(seed),
    )
    return Sampled(ByRun(space), sampler, objectives, seed, window=window, genes=False)


GENETIC = Struct(
    population=Integer(2, 10_000),
    mutations=Real(0.01, 16),
    crossover=Real(0, 1),
    swapping=Real(0, 1),
)


@register(
    "strategy",
    "nsga2",
    paper="Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm, 2002",
    options=GENETIC,
)
def nsga2(
    space: Space,
    objectives: int,
    seed: int,
    *,
    population: int = 50,
    mutations: float = 1.0,
    crossover: float = 0.9,
    swapping: float = 0.5,
) -> Strategy:
    """Genetic search by non-dominated sorting and crowding, over all genes of the tree.

    In generations of `population`: a child takes each gene of its first parent, or with the probability `crossover`
    and then `swapping` that of a second; `mutations` genes on average are redrawn.
    """
    sampler = NSGAIISampler(
        population_size=population,
        mutation_prob=_gene_rate(space, mutations),
        crossover_prob=crossover,
        swapping_prob=swapping,
        seed=_bounded(seed),
    )
    return Sampled(Flat(space), sampler, objectives, seed, window=None, genes=False)


@register(
    "strategy",
    "nsga3",
    paper="Deb and Jain, An Evolutionary Many-Objective Optimization Algorithm, 2014",
    options=Struct(**GENETIC.fields, divisions=Integer(1, 20)),
)
def nsga3(
    space: Space,
    objectives: int,
    seed: int,
    *,
    population: int = 50,
    mutations: float = 1.0,
    crossover: float = 0.9,
    swapping: float = 0.5,
    divisions: int = 3,
) -> Strategy:
    """Genetic search by non-dominated sorting and reference directions, for three objectives and more.

    As `nsga2`, but of the last front stay those in the directions that have fewest; each axis has `divisions`.
    """
    sampler = Niched(
        _bounded(seed),
        population_size=population,
        mutation_prob=_gene_rate(space, mutations),
        crossover_prob=crossover,
        swapping_prob=swapping,
        dividing_parameter=divisions,
    )
    return Sampled(Flat(space), sampler, objectives, seed, window=None, genes=False)


@register(
    "strategy",
    "gp",
    paper="Srinivas et al., 2010; Optuna's GPSampler",
    options=Struct(startup=Integer(1, 1000), window=Integer(10, 2000), deterministic=Choice(False, True)),
)
def gp(
    space: Space,
    objectives: int,
    seed: int,
    *,
    startup: int = 10,
    window: int = GP_WINDOW,
    deterministic: bool = False,
) -> Strategy:
    """Gaussian process over all genes of the tree, with expected (hypervolume) improvement.

    The first `startup` are drawn at random. It is fitted to the `window` best and latest trials, or up to twice as
    many; `deterministic` says that their objectives have no noise.
    """
    sampler = FreshFits(seed=_bounded(seed), n_startup_trials=startup, deterministic_objective=deterministic)
    return Sampled(Flat(space), sampler, objectives, seed, window=window, genes=True, bound=math.inf)


@register(
    "strategy",
    "cmaes",
    paper="Hansen, The CMA Evolution Strategy: A Tutorial, 2016",
    options=Struct(startup=Integer(1, 1000)),
    lacks=["several objectives"],
)
def cmaes(space: Space, objectives: int, seed: int, *, startup: int = 1) -> Strategy:
    """Covariance matrix adaptation over random keys; for one objective.

    The first `startup` are drawn at random. Meant for some tens of decisions: the cost grows with their cube.
    """
    sampler = Unnumbered(seed=_bounded(seed), n_startup_trials=startup, warn_independent_sampling=False)
    return Sampled(Keys(space), sampler, objectives, seed, window=None, genes=False)


def _gene_rate(space: Space, mutations: float) -> float:
    """Return the probability with which each gene is redrawn, for so many on average."""
    return min(1.0, mutations / max(1, len(every(space.tree))))


def _bounded(seed: int) -> int:
    """Bring any seed to what numpy takes."""
    return seed % 2**32
