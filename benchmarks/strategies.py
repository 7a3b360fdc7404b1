"""Strategies on the table of NAS-Bench-201, beside Optuna and Syne Tune used directly, on the same table in one run.

A search selects by `val_accuracy` and is judged by the `test_accuracy` of what it selected, so nothing it sees is of
the test set. The table is read from the folder that NAS_TABLES names (`nasbench201_cifar10.csv.gz`, a public export of
NATS-Bench); NAS_SYNE_TUNE is the Python of an environment in which Syne Tune is installed. What is not there is named
as skipped.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from common import Results, run

from nas.comparison.curves import Curve, Summary, summarise, volume
from nas.comparison.runs import Contender, Plan, compare, plan
from nas.settings import Settings
from nas.simulation import Simulated, simulate
from nas.store import State
from nas.strategies import make_strategy
from search_spaces.space import find_space

TABLE = "nasbench201_cifar10.csv.gz"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
LATENCY = "min:edgegpu_latency"
MARKS = (50, 100, 300, 500)
OURS = ("random", "regularized_evolution", "pareto_evolution", "surrogate[model=process]")
SLOWER = ("tpe", "surrogate", "predictor_guided[base=random,candidates=100]")


def main() -> int:
    parts = {"one": one_objective, "two": two_objectives, "speed": speed, "asks": asks}
    return run("Strategies", parts, ("nas", "optuna", "scikit-learn", "torch"))


def one_objective(results: Results) -> None:
    """Mean test accuracy of the selected after so many evaluations."""
    if (table := _table(results)) is None:
        return
    seeds, most = results.size.pick(4, 200), results.size.pick(100, 300, 500)
    names = OURS + results.size.pick((), (), SLOWER)
    planned = plan(
        Settings(space="nasbench201", task=f"table:{table}", objectives=("accuracy",), trials=most), None, []
    )
    found = compare(planned, [Contender.parse(each) for each in names], [1], seeds, _cores(), _quiet)
    lines = {name: [ran.best for ran in runs if ran.best is not None] for (name, _), runs in found.items()}
    lines |= {f"Optuna {name}": _peer(partial(_optuna_best, name, most), seeds) for name in ("TPE", "NSGA-II")}
    results.peer(
        "Optuna", f"study.ask/tell over 6 categorical parameters, default TPESampler and NSGAIISampler, {most} trials"
    )
    lines |= _syne_tune(results, table, most, seeds)
    at = {name: summarise(curves) for name, curves in lines.items()}
    for mark in (mark for mark in MARKS if mark <= most):
        for name, curves in at.items():
            _add(results, f"{name}, {mark} evaluations", curves, mark, "% test", _bar(name, mark))
        best = max(names, key=lambda name: at[name].mean[mark - 1])
        bar = {100: 94.15, 300: 94.25}.get(mark)
        _add(results, f"best of ours ({best}), {mark} evaluations", at[best], mark, "% test", bar)


def two_objectives(results: Results) -> None:
    """Hypervolume of (test accuracy, latency) after 200 evaluations, in units of the box that the whole table spans."""
    if (table := _table(results)) is None:
        return
    seeds, most = results.size.pick(3, 50), 200
    settings = Settings(space="nasbench201", task=f"table:{table}", objectives=("accuracy", LATENCY), trials=most)
    planned = plan(settings, None, [])
    names = ("random", "nsga2", "pareto_evolution", "surrogate[model=process]")
    found = compare(planned, [Contender.parse(name) for name in names], [1], seeds, _cores(), _quiet)
    lines = {name: [ran.volume for ran in runs if ran.volume is not None] for (name, _), runs in found.items()}
    lines["Optuna NSGA-II"] = _peer(partial(_optuna_volume, planned, most), seeds)
    at = {name: summarise(curves) for name, curves in lines.items()}
    for name, curves in at.items():
        _add(results, f"{name}, hypervolume after {most}", curves, most, "of the box")
    best = max((name for name in names if name not in ("random", "nsga2")), key=lambda name: at[name].mean[-1])
    results.add(
        f"{best} / Optuna NSGA-II", float(at[best].mean[-1] / at["Optuna NSGA-II"].mean[-1]), "ratio", least=1.0
    )


def _add(results: Results, name: str, curves: Summary, mark: int, unit: str, least: float | None = None) -> None:
    """Keep a mean over the seeds, with its 95 % interval as its spread."""
    mean, interval = float(curves.mean[mark - 1]), float(curves.interval[mark - 1])
    results.add(name, mean, unit, least=least, spread=(mean - interval, mean + interval))


def speed(results: Results) -> None:
    """Simulated trials a second, on one core."""
    if (table := _table(results)) is None:
        return
    count, rounds = results.size.pick(1000, 3000), results.size.pick(1, 5)
    for name in ("random", "regularized_evolution", "pareto_evolution"):
        settings = Settings(space="nasbench201", task=f"table:{table}", objectives=("accuracy",), trials=count)
        simulate(replace(settings, strategy=name, trials=10))
        rates = []
        for seed in range(rounds):
            begin = time.perf_counter()
            simulate(replace(settings, strategy=name, seed=seed), workers=8)
            rates.append(count / (time.perf_counter() - begin))
        results.add(f"{name}, simulated", rates, "trials/s", least=2000)


def asks(results: Results) -> None:
    """What an ask costs after so many trials, on NAS-Bench-201's tree."""
    space = find_space("nasbench201")
    for name, most in (("tpe", 1000), ("surrogate", 300), ("gp", 60)):
        strategy, times = make_strategy(name, space, 1, 0), []
        rng = np.random.default_rng(0)
        for turn in range(results.size.pick(60, most)):
            begin = time.perf_counter()
            strategy.ask(turn)
            times.append(time.perf_counter() - begin)
            strategy.tell(turn, [float(rng.random())])
        for mark in (50, 100, 300, 1000):
            if mark <= len(times):
                results.add(f"{name}, an ask after {mark} trials", 1000 * float(np.mean(times[mark - 20 : mark])), "ms")


def _bar(name: str, mark: int) -> float | None:
    return 94.0 if (name, mark) == ("regularized_evolution", 100) else None


def _table(results: Results) -> str | None:
    folder = os.environ.get("NAS_TABLES")
    path = Path(folder or ".") / TABLE
    if folder is None or not path.exists():
        results.skip(TABLE, "set NAS_TABLES to the folder that holds it")
        return None
    return str(path)


@cache
def _rows() -> dict[tuple[str, ...], tuple[float, float, float]]:
    """Return (validation, test, latency) by the operations on the edges, in the order of the notation."""
    with gzip.open(Path(os.environ["NAS_TABLES"]) / TABLE, "rt") as file:
        return {
            tuple(part.split("~")[0] for part in row["arch"].replace("+", "").split("|") if part): (
                float(row["val_accuracy"]),
                float(row["test_accuracy"]),
                float(row["edgegpu_latency"]),
            )
            for row in csv.DictReader(file)
        }


def _peer(search: Callable[[int], Curve], seeds: int) -> list[Curve]:
    with ProcessPoolExecutor(_cores()) as pool:
        return list(pool.map(search, range(seeds), chunksize=4))


def _optuna_study(sampler: str, seed: int, objectives: int) -> Any:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.samplers.TPESampler(seed=seed) if sampler == "TPE" else optuna.samplers.NSGAIISampler(seed=seed)
    return optuna.create_study(directions=["maximize", "minimize"][:objectives], sampler=made)


def _optuna_best(sampler: str, trials: int, seed: int) -> Curve:
    """Run Optuna by ask and tell, and return the test accuracy of the selected after each trial."""
    study, best, curve = _optuna_study(sampler, seed, 1), (-1.0, 0.0), []
    for _ in range(trials):
        trial = study.ask()
        row = _rows()[tuple(trial.suggest_categorical(str(edge), OPERATIONS) for edge in range(6))]
        study.tell(trial, row[0])
        best = max(best, row[:2], key=lambda pair: pair[0])
        curve.append(best[1])
    return np.array(curve)


def _optuna_volume(planned: Plan, trials: int, seed: int) -> Curve:
    study, told = _optuna_study("NSGA-II", seed, 2), []
    for number in range(trials):
        trial = study.ask()
        row = _rows()[tuple(trial.suggest_categorical(str(edge), OPERATIONS) for edge in range(6))]
        study.tell(trial, (row[0], row[2]))
        values, metrics = {"accuracy": row[0], LATENCY: row[2]}, {str(planned.test): row[1]}
        told.append(Simulated(number, None, State.COMPLETED, values, metrics, float(number)))
    return volume(told, planned.objectives, planned.test, planned.bounds)


def _syne_tune(results: Results, table: str, trials: int, seeds: int) -> dict[str, list[Curve]]:
    """Run Syne Tune's own regularized evolution in its own environment."""
    python = os.environ.get("NAS_SYNE_TUNE")
    if python is None:
        results.skip("Syne Tune", "set NAS_SYNE_TUNE to the Python of an environment with syne-tune")
        return {}
    script = Path(__file__).with_name("syne_tune_search.py")
    done = subprocess.run(
        [python, str(script), table, str(trials), str(seeds)], capture_output=True, text=True, check=True
    )
    answer = json.loads(done.stdout.splitlines()[-1])
    name = f"Syne Tune {answer['version']} REA"
    results.peer(name, f"AskTellScheduler(REA(population_size=100, sample_size=10)), its defaults, {trials} trials")
    return {name: [np.array(curve) for curve in answer["curves"]]}


def _cores() -> int:
    return len(os.sched_getaffinity(0))


def _quiet(done: int, total: int) -> None:
    if done % 50 == 0:
        print(f"{done}/{total} searches", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
