"""Syne Tune's regularized evolution on the table of NAS-Bench-201; run by strategies.py in an environment of its own.

Usage: python syne_tune_search.py TABLE TRIALS SEEDS. The last line printed is JSON: its version, and for each seed the
test accuracy of the architecture with the best validation accuracy so far, after each trial.
"""

from __future__ import annotations

import csv
import gzip
import json
import logging
import sys

import syne_tune
from syne_tune.config_space import choice
from syne_tune.optimizer.baselines import REA
from syne_tune.optimizer.schedulers.ask_tell_scheduler import AskTellScheduler

OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


def main(table: str, trials: int, seeds: int) -> None:
    logging.disable(logging.WARNING)
    with gzip.open(table, "rt") as file:
        rows = {
            _edges(row["arch"]): (float(row["val_accuracy"]), float(row["test_accuracy"]))
            for row in csv.DictReader(file)
        }
    curves = [search(rows, trials, seed) for seed in range(seeds)]
    print(json.dumps({"version": syne_tune.__version__, "curves": curves}))


def search(rows: dict[tuple[str, ...], tuple[float, float]], trials: int, seed: int) -> list[float]:
    space = {f"edge{i}": choice(OPERATIONS) for i in range(6)}
    scheduler = AskTellScheduler(REA(config_space=space, metric="accuracy", do_minimize=False, random_seed=seed))
    best, curve = (-1.0, 0.0), []
    for _ in range(trials):
        trial = scheduler.ask()
        row = rows[tuple(trial.config[f"edge{i}"] for i in range(6))]
        scheduler.tell(trial, {"accuracy": row[0]})
        best = max(best, row, key=lambda pair: pair[0])
        curve.append(best[1])
    return curve


def _edges(arch: str) -> tuple[str, ...]:
    return tuple(part.split("~")[0] for part in arch.replace("+", "").split("|") if part)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
