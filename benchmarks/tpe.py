"""Our choices for TPE: how much of the past it sees, and one density a decision instead of a joint one.

What an ask costs is measured on the tree of `kan_vision`, what the choice does to the search on a made-up landscape,
where answers are free and the best is known to be learnable: the best error found with one objective, the
hypervolume in (error, log10 cost) with two. Random search is the floor.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
import warnings
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import Random
from statistics import fmean, stdev

from common import Results, run
from landscapes import WORST, cost, error, landscape

from nas.pareto import hypervolume
from nas.plans.search import TURNS
from nas.strategies import Proposal, Strategy
from nas.strategies.random import RandomSearch
from nas.strategies.samplers import TPE_WINDOW, ByRun, Sampled
from search_spaces.space import Space, find_space


@dataclass(frozen=True)
class Variant:
    """One way to search: random, or a TPE with its kind of density and its window."""

    name: str
    density: str = "univariate"
    window: int | None = None

    def strategy(self, space: Space, objectives: int, seed: int) -> Strategy:
        if self.density == "random":
            return RandomSearch(space, objectives, seed)
        from optuna.samplers import TPESampler

        with warnings.catch_warnings(action="ignore"):
            choices = {
                "univariate": partial(TPESampler, multivariate=False),
                "default": partial(TPESampler),
                "joint": partial(TPESampler, multivariate=True),
                "grouped": partial(TPESampler, multivariate=True, group=True),
            }
            sampler = choices[self.density](constant_liar=True, seed=seed)
        return Sampled(ByRun(space), sampler, objectives, seed, window=self.window, genes=False)


RANDOM = Variant("random", "random")
UNLIMITED = Variant("TPE, all trials")


def main() -> int:
    parts = {"ask": asks, "window": windows, "density": densities}
    return run("TPE", parts, ["nas", "optuna", "numpy"])


def asks(results: Results) -> None:
    """Milliseconds an ask with so many trials behind it, at its dearest: just before the window shrinks."""
    space = find_space("kan_vision")
    for past in results.size.pick([200], [200, 1000, 5000], [200, 1000, 5000, 20000]):
        for name, window in ((f"TPE, window {TPE_WINDOW}", TPE_WINDOW), ("TPE, all trials", None)):
            times = ask_times(Variant(name, window=window).strategy(space, 2, seed=0), space, past)
            results.add(f"{name}: an ask after {past} trials", times, "ms")


def windows(results: Results) -> None:
    """What TPE finds when it sees all of the past, or a window of it."""
    sizes = results.size.pick([20], [100, TPE_WINDOW, 500])
    variants = [RANDOM, UNLIMITED, *(Variant(f"TPE, window {each}", window=each) for each in sizes)]
    compare(results, variants, results.size.pick(60, 1500, 5000), results.size.pick(2, 4, 12))


def densities(results: Results) -> None:
    """What univariate TPE finds, and Optuna's own default and grouped TPE."""
    variants = [
        RANDOM,
        Variant("TPE, univariate"),
        Variant("TPE, Optuna's default", "default"),
        Variant("TPE, multivariate", "joint"),
        Variant("TPE, multivariate, group", "grouped"),
    ]
    compare(results, variants, results.size.pick(30, 250), results.size.pick(2, 8, 16))


def compare(results: Results, variants: list[Variant], trials: int, seeds: int) -> None:
    """Search with every variant and seed, for one objective and for two, on all cores."""
    work = [(v, objectives, trials, seed) for seed in range(seeds) for objectives in (1, 2) for v in variants]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), context) as pool:
        found = dict(zip(work, pool.map(quality, work), strict=True))
    for objectives, what in ((1, "least error"), (2, "hypervolume")):
        for each in variants:
            runs = [found[each, objectives, trials, seed] for seed in range(seeds)]
            label = f"{each.name}: {what} of {trials}"
            mean, deviation = fmean(value for value, _ in runs), stdev(value for value, _ in runs)
            results.add(f"{label}, mean of {seeds}", mean, "loss" if objectives == 1 else "volume")
            results.add(f"{label}, deviation", deviation, "loss" if objectives == 1 else "volume")
            if each.density != "random":
                results.add(f"{each.name}: CPU an ask, {objectives} objectives", [ms for _, ms in runs], "ms")


def quality(work: tuple[Variant, int, int, int]) -> tuple[float, float]:
    """Return what a search found and the CPU milliseconds an ask took it."""
    warnings.simplefilter("ignore")
    variant, objectives, trials, seed = work
    strategy = variant.strategy(landscape(), objectives, seed)
    losses, seconds = [], 0.0
    for number in range(trials):
        begin = time.process_time()
        proposal = strategy.ask(number * TURNS)
        seconds += time.process_time() - begin
        losses.append([error(proposal.architecture), cost(proposal.architecture)][:objectives])
        strategy.tell(proposal.turn, losses[-1])
    value = min(losses)[0] if objectives == 1 else hypervolume(losses, WORST)
    return value, seconds / trials * 1e3


def ask_times(strategy: Strategy, space: Space, past: int, repeats: int = 9) -> list[float]:
    """Return the milliseconds of the last asks before the trial `past`, all earlier ones being random."""
    random, times = Random(0), []
    for turn in range(past - 1):
        if turn < past - 1 - repeats:
            strategy.remember(Proposal(turn, space.draw(random)))
        else:
            begin = time.perf_counter()
            strategy.ask(turn)
            times.append((time.perf_counter() - begin) * 1e3)
        strategy.tell(turn, [random.random(), random.random()])
    return times


if __name__ == "__main__":
    sys.exit(main())
