"""Differentiable search and weight sharing on `kan_vision` and digits, beside plain random search of equal cost.

Everything runs in this process, one trial after the other, with one thread; cost is wall time on this machine, so the
parts want it for themselves. Accuracies are of the validation split that a search selects by, and of the test split for
what was selected. What a figure shows is reported whatever it shows: none of them has a bar.
"""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import numpy as np
import torch
from common import Results, run
from scipy.stats import spearmanr

from nas import pareto
from nas.execution.inline import Inline
from nas.export import evaluate_folder
from nas.progress import Progress
from nas.settings import Settings
from nas.store import State, Store
from nas.store.queries import TrialRow
from nas.study import Study
from nas.supernet.bank import Supernet
from nas.supernet.recalibration import judge
from nas.supernet.search import SubnetSettings, measured, subnet_search
from nas.supernet.training import SupernetSettings, train_supernet
from nas.tasks import find_task
from nas.training.loop import train, validate
from nas.training.measures import measure
from nas.training.seeding import derive, seeded
from search_spaces.decisions import Architecture
from search_spaces.limits import limited
from search_spaces.space import Space, find_space

EPOCHS = 8
CHEAP = (
    "network.stages#=1..2",
    "network.stages[*].layer=conv2d,depthwise_separable,linear",
    "network.stages[*].norm=batch",
    "network.stages[*].activation=relu",
    "network.stages[*].wiring=residual",
    "network.stages[*].sparsity=dense",
    "network.stem.layer=convolution",
    "network.stem.norm=batch",
    "network.head.pool=average",
    "network.head.layer=linear",
)
RECIPE = {"optimizer": {"adamw": {"rate": 3e-3, "weight_decay": 1e-2}}, "batch": 64, "schedule": "cosine"}


def main() -> int:
    torch.set_num_threads(1)
    return run("Supernets", {"differentiable": differentiable, "sharing": sharing}, ("nas", "torch", "scipy"))


def differentiable(results: Results) -> None:
    """DARTS against as many random trials as fit into its time."""
    epochs, seeds = results.size.pick(4, 20), results.size.pick(1, 5)
    ratios, ours, theirs, counts = [], [], [], []
    for seed in range(seeds):
        options = {"epochs": epochs, "warmup": epochs // 5, "children": 4}
        begin = time.perf_counter()
        found = _search(Settings(strategy="darts", strategy_options=options, trials=4, **_alike(seed)))
        seconds = time.perf_counter() - begin
        random = _search(Settings(strategy="random", trials=10000, **_alike(seed)), seconds)
        ours.append(found[0])
        theirs.append(random[0])
        counts.append(random[1])
        ratios.append(seconds)
    for name, pairs in (("DARTS, found and retrained", ours), ("random, best of as long", theirs)):
        results.add(f"{name}: validation accuracy", [pair[0] for pair in pairs], "")
        results.add(f"{name}: test accuracy", [pair[1] for pair in pairs], "")
    results.add("a search", ratios, "s")
    results.add("random trials in that time", [float(count) for count in counts], "trials")


def sharing(results: Results) -> None:
    """How inherited accuracies order subnetworks, and the front found in a supernet against one found by training."""
    space, task = limited(find_space("kan_vision"), CHEAP), find_task("digits")
    epochs, count = results.size.pick(5, 200), results.size.pick(6, 50)
    begin = time.perf_counter()
    supernet = Supernet(find_space("kan_vision"), task, seed=0)
    for _ in train_supernet(supernet, epochs, SupernetSettings(rule="one_shot"), within=space):
        pass
    spent = time.perf_counter() - begin
    results.add("supernet: one_shot, trained", spent, "s")
    drawn = [space.draw(Random(f"subnet {i}")) for i in range(count)]
    inherited = [judge(supernet, each)[1] for each in drawn]
    alone = [_alone(each, seed) for seed, each in enumerate(drawn)]
    results.add("inherited accuracy of random subnetworks", inherited, "validation")
    results.add(f"stand-alone accuracy of the same, {EPOCHS} epochs", alone, "validation")
    results.add(f"Spearman of the two, {count} subnetworks", float(spearmanr(inherited, alone).statistic), "")
    begin = time.perf_counter()
    found = subnet_search(
        supernet, [measured(supernet, "params")], SubnetSettings(evaluations=results.size.pick(20, 200)), within=space
    ).front("params")
    results.add("subnet_search", time.perf_counter() - begin, "s")
    front = [(_alone(each.architecture, seed), each.costs["params"]) for seed, each in enumerate(found[:12])]
    spent += time.perf_counter() - begin
    results.add("supernet, search and the training of what was found", spent, "s")
    scratch = _scratch(space, spent)
    for name, points in (("found in the supernet", front), ("random, for as long", scratch)):
        losses = [[1 - accuracy, float(np.log10(params))] for accuracy, params in points]
        results.add(
            f"trained alone, {name}: hypervolume", pareto.hypervolume(losses, [0.2, 5.0]), f"of {len(points)} networks"
        )


class TimeUp(Exception):
    """A search has had its time."""


def _alike(seed: int) -> dict[str, object]:
    return {"space": "kan_vision", "task": "digits", "objectives": ("accuracy",), "epochs": EPOCHS, "seed": seed}


def _search(settings: Settings, seconds: float | None = None) -> tuple[tuple[float, float], int]:
    """Search, so many seconds if given; return the best's validation and test accuracy, and how many trials."""
    with tempfile.TemporaryDirectory() as folder:
        study = Study.create(Store.open(f"sqlite:///{folder}/nas.db", create=True), settings, "one")
        deadline = time.monotonic() + (seconds or float("inf"))

        def watch(progress: Progress) -> None:
            if time.monotonic() > deadline:
                raise TimeUp

        with suppress(TimeUp):
            study.run(Inline(), watch)
        rows = [row for row in study.trials() if row.state is State.COMPLETED]
        best = max(rows, key=lambda row: row.values["accuracy"])
        return (best.values["accuracy"], _test(study, best, Path(folder))), len(rows)


def _test(study: Study, row: TrialRow, folder: Path) -> float:
    study.export(row.number, folder / "best")
    return float(evaluate_folder(folder / "best", None, "test")["accuracy"])


def _alone(architecture: Architecture, seed: int) -> float:
    """Train a subnetwork from scratch with one recipe, and return its validation accuracy."""
    task = find_task("digits")
    with seeded(derive(seed, "build")):
        network = find_space("kan_vision").build(architecture, task)
    for _ in train(network, task, RECIPE, EPOCHS, seed):
        pass
    return validate(network, task.validation())[1]


def _scratch(space: Space, seconds: float) -> list[tuple[float, float]]:
    """Train random architectures of a space for so long, and return their accuracies and parameters."""
    begin, points, task = time.perf_counter(), [], find_task("digits")
    while time.perf_counter() - begin < seconds:
        drawn = space.draw(Random(f"scratch {len(points)}"))
        params = measure(["params"], find_space("kan_vision").build(drawn, task), task)["params"]
        points.append((_alone(drawn, len(points)), params))
    return points


if __name__ == "__main__":
    sys.exit(main())
