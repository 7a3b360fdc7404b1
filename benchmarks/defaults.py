"""Which strategy and schedule a plain `nas search` should use: `kan_vision` on digits, for the same processor time.

Each pair searches with one worker until it has used its budget of processor seconds, asks and trainings included.
Reported is the hypervolume of validation accuracy (0.5 to 1) and log10 of params (3 to 6), as a share of that box,
of the trials completed in the first half of the budget and in all of it. Processor time and one thread a search,
so that another load on the machine weighs on none more than on another.

    python benchmarks/defaults.py --json defaults.json
"""

from __future__ import annotations

import math
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from common import Results, run

from nas import pareto
from nas.execution.inline import Inline
from nas.progress import Progress
from nas.settings import Settings
from nas.store import Store, queries
from nas.study import Study

PAIRS = [
    ("random", "none"),
    ("random", "asha"),
    ("tpe", "none"),
    ("tpe", "asha"),
    ("nsga2", "none"),
    ("nsga2", "asha"),
]
EPOCHS = 8


class OutOfBudget(Exception):
    """The budget is used up."""


def search(strategy: str, schedule: str, seed: int, budget: float) -> list[tuple[float, float, float]]:
    """Search and return (processor seconds, accuracy, params) of each completed trial."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
        settings = Settings(strategy=strategy, schedule=schedule, epochs=EPOCHS, trials=100_000, seed=seed)
        study = Study.create(store, settings, "defaults")
        executor = Inline()
        begin = time.process_time()
        spent: list[float] = []

        def watch(progress: Progress) -> None:
            spent.extend([time.process_time() - begin] * (progress.done - len(spent)))
            if time.process_time() - begin > budget:
                raise OutOfBudget

        try:
            study.run(executor, watch)
        except OutOfBudget:
            pass
        rows = queries.values(store, study.row.id, "accuracy", "params")
        return [(spent[number], *values) for number, values in rows if number < len(spent)]


def share(trials: Sequence[tuple[float, float, float]]) -> float:
    """Return the hypervolume of accuracy in [0.5, 1] and log10 of params in [3, 6], as a share of that box."""
    points = [[2 * (1 - accuracy), (math.log10(params) - 3) / 3] for _, accuracy, params in trials]
    return pareto.hypervolume([[a, max(p, 0.0)] for a, p in points], [1.0, 1.0])


def defaults(results: Results) -> None:
    budget, seeds = results.size.pick(10.0, 150.0, 600.0), results.size.pick(1, 3, 5)
    found: dict[tuple[str, str], list[list[tuple[float, float, float]]]] = {pair: [] for pair in PAIRS}
    with multiprocessing.get_context("spawn").Pool(2, maxtasksperchild=1) as pool:
        jobs = {
            (pair, seed): pool.apply_async(search, (*pair, seed, budget)) for seed in range(seeds) for pair in PAIRS
        }
        for (pair, _), job in jobs.items():
            found[pair].append(job.get())
    for (strategy, schedule), runs in found.items():
        name = f"{strategy} + {schedule}"
        for part in (0.5, 1.0):
            shares = [share([trial for trial in trials if trial[0] <= part * budget]) for trials in runs]
            results.add(f"{name}, hypervolume after {part * budget:g} s", shares, "of 1")
        results.add(f"{name}, best validation accuracy", [max((t[1] for t in r), default=0.0) for r in runs], "")
        results.add(f"{name}, completed trials", [float(len(trials)) for trials in runs], "")


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    raise SystemExit(run("defaults", {"defaults": defaults}, ["torch", "optuna"]))
