"""Predictors against networks that were trained: rank correlations, their speed, and what a screening by them gains.

Tables are read from the folder that NAS_TABLES names: `nasbench201_cifar10.csv.gz` (a public export of NATS-Bench),
`nasbench201_cifar10_reference_scores.json.gz` (scores that NASLib worked out on real CIFAR-10 batches) and
`nasbench_macro_cifar10.json.gz` (NAS-Bench-Macro). NAS_DIGITS_STUDY is a study of trained networks as URL#NAME. Scores
are kept in the folder NAS_SCORES, so that a run goes on where one ended: give a new one after a predictor has changed.
Without it they are kept nowhere. What is not there is named as skipped.

Inputs are Gaussian noise, 16 samples, but for `digits`, whose samples are of the training split. How the constants of
`consensus` were chosen stands in its module: one choice was made with other networks of `kan_vision` in view, and with
NAS-Bench-Macro's table.
"""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from common import Results, Size, run
from gradsign_loop import official_score
from torch import nn
from torch.nn.functional import cross_entropy

from nas.comparison.curves import summarise
from nas.comparison.runs import Contender, compare, plan
from nas.scoring import find_predictor
from nas.scoring.evaluation import evaluate, score_study, score_table
from nas.scoring.samples import Gaussian, draw_samples
from nas.scoring.trained import Trained, from_study, from_table
from nas.scoring.watching import following
from nas.settings import Settings
from nas.store import Store
from nas.store.queries import ScoreRow
from nas.study import Study
from nas.training.seeding import derive, seeded
from predictors import Batch
from predictors.correlation import spearman
from predictors.evaluate import ALL, BASELINES, Correlation
from search_spaces.decisions import identity
from search_spaces.registry import entries
from search_spaces.space import find_space
from search_spaces.spaces import nasbench201 as cells

CELLS = "nasbench201_cifar10.csv.gz"
REFERENCE = "nasbench201_cifar10_reference_scores.json.gz"
MACRO = "nasbench_macro_cifar10.json.gz"
SCREENS, MORE_SCREENS = ("params", "consensus"), ("effective_params", "gradsign")
USUAL = ("consensus", "gradsign", "synflow", "naswot", *BASELINES)
MEASURED = ("latency", "memory")  # of the machine, and not repeatable
RHO, TAU = "\N{GREEK SMALL LETTER RHO}", "\N{GREEK SMALL LETTER TAU}"
CANDIDATES, MARKS = 10, (50, 100)
BATCH, SPEED_BATCH = 16, 64
# The reference's operations, and the edges that its keys name in this order.
OPERATIONS = ("skip_connect", "none", "nor_conv_3x3", "nor_conv_1x1", "avg_pool_3x3")
EDGES = ("edge_0_1", "edge_0_2", "edge_0_3", "edge_1_2", "edge_1_3", "edge_2_3")
MAKE_STUDY = (
    "make one with `nas search --space kan_vision --task digits --strategy random --schedule none --trials 330 "
    "--epochs 4 --workers 2 --seed 1 --study fixed330 --store sqlite:///kan_vision_digits.db "
    "--only training.optimizer=adamw --only training.optimizer:adamw.rate=0.003..0.003 "
    "--only training.optimizer:adamw.weight_decay=0.001..0.001 --only training.batch=32 "
    "--only training.schedule=cosine --only training.warmup=0.1..0.1 --only training.label_smoothing=0..0 "
    "--only training.augmentation=none`, and set "
    "NAS_DIGITS_STUDY=sqlite:///kan_vision_digits.db#fixed330"
)


def main() -> int:
    parts = {
        "nasbench201": nasbench201,
        "others": others,
        "macro": macro,
        "digits": digits,
        "speed": speed,
        "screening": screening,
    }
    return run("Predictors", parts, ("nas", "numpy", "scipy", "torch"))


def nasbench201(results: Results) -> None:
    """The usual predictors on 1,000 random cells; synflow beside the scores of another implementation."""
    if (table := _table(results, CELLS)) is None:
        return
    names = results.size.pick(("gradsign", *BASELINES), USUAL)
    trained = from_table("nasbench201", table, results.size.pick(12, 1000))
    kept = _scored(trained, names, results.size)
    bars = {
        "gradsign": {"spearman": {"least": 0.75, "most": 0.87}},
        "consensus": {"kendall": {"least": 0.74}},
    }
    _report(results, "NAS-Bench-201", trained, names, kept, bars if results.size is not Size.QUICK else {})
    _synflow(results, table)


def others(results: Results) -> None:
    """Every predictor on random cells, the slow ones too."""
    if (table := _table(results, CELLS)) is None:
        return
    names = results.size.pick(("l2_norm", *BASELINES), _registered())
    trained = from_table("nasbench201", table, results.size.pick(12, 100, 1000))
    _report(results, "NAS-Bench-201", trained, names, _scored(trained, names, results.size), {})


def _synflow(results: Results, table: str) -> None:
    """Correlate our synflow with that of the reference; theirs is of other weights and another initialisation."""
    if (path := _table(results, REFERENCE)) is None:
        return
    with gzip.open(path, "rt") as file:
        found = {_cell(key): scores.get("synflow") for key, scores in json.load(file).items()}
    reference = {cell: score for cell, score in found.items() if score is not None}
    written = list(reference)[: results.size.pick(12, len(reference))]
    everything = from_table("nasbench201", table)
    places = {cells.write(each): i for i, each in enumerate(everything.architectures)}
    trained = _part(everything, [places[each] for each in written])
    kept = _scored(trained, ("synflow",), results.size)
    ours = evaluate(trained, ("synflow",), kept, resamples=1).scores["synflow"]
    pairs = [(value, reference[text]) for value, text in zip(ours, written, strict=True) if value is not None]
    mine, theirs = torch.tensor(pairs, dtype=torch.float64).numpy().T
    once = torch.ones(1, len(pairs), dtype=torch.int64).numpy()
    least = None if results.size is Size.QUICK else 0.99
    results.add(
        f"synflow and the reference, {len(pairs)} cells", float(spearman(mine, theirs, once)[0]), RHO, least=least
    )
    results.add("synflow without a score", len(written) - len(pairs), "cells", most=0)


def macro(results: Results) -> None:
    """The usual predictors on random networks of NAS-Bench-Macro."""
    if (table := _table(results, MACRO)) is None:
        return
    names = results.size.pick(("synflow", *BASELINES), USUAL)
    trained = from_table("nasbench_macro", table, results.size.pick(12, 500, 1000))
    kept = _scored(trained, names, results.size)
    bars = {"consensus": {"spearman": {"least": 0.85}}}
    _report(results, "NAS-Bench-Macro", trained, names, kept, bars if results.size is not Size.QUICK else {})


def digits(results: Results) -> None:
    """Every predictor on a study of `kan_vision` whose random networks were trained on digits."""
    url, _, name = os.environ.get("NAS_DIGITS_STUDY", "").partition("#")
    path = Path(url.removeprefix("sqlite:///"))
    if not name or not path.is_file():
        results.skip("digits", MAKE_STUDY)
        return
    names = results.size.pick(("naswot", *BASELINES), _registered())
    with _folder() as folder:
        copy = folder / f"scored_{path.name}"
        if not copy.exists():
            shutil.copyfile(path, copy)
        study = Study(Store.open(f"sqlite:///{copy}"), name)
        trained = from_study(study)
        trained = _part(trained, range(len(trained.results))[: results.size.pick(12, None)])
        with following(f"scoring {len(trained.results)} trials of {name}") as watch:
            kept = score_study(study, trained, names, _workers(results.size), watch)
    results.peer("trained networks", trained.about)
    _report(results, "kan_vision on digits", trained, names, kept, {})


def speed(results: Results) -> None:
    """One thread, the same networks in turns: gradsign beside the loop of its authors, consensus beside its parts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _speed(results, "cpu", 1.5)
        if torch.cuda.is_available():
            _speed(results, "cuda", 10)
        else:
            results.skip("gradsign on CUDA", "there is no GPU here")
    finally:
        torch.set_num_threads(threads)
    results.peer(
        "official GradSign", "benchmarks/gradsign_loop.py: our writing of its authors' loop, on the same batch"
    )


def _speed(results: Results, device: str, least: float) -> None:
    space, source = find_space("nasbench201"), Gaussian((3, 32, 32), 10)
    networks = _networks(results.size.pick(2, 20), device)
    gradsign, consensus, synflow, naswot = map(find_predictor, ("gradsign", "consensus", "synflow", "naswot"))
    large, small = (Batch(*draw_samples(source, count, 0)) for count in (SPEED_BATCH, BATCH))
    inputs, targets = (each.to(device) for each in (large.inputs, large.targets))
    rows: dict[str, list[float]] = {"ours": [], "loop": [], "consensus": [], "synflow": [], "naswot": []}
    works: list[tuple[str, Callable[[nn.Module], Any]]] = [
        ("ours", lambda network: gradsign.measure(network, Batch(inputs, targets))),
        ("loop", lambda network: official_score(network, inputs, targets, cross_entropy)),
        ("consensus", lambda network: consensus.measure(network, small)),
        ("synflow", lambda network: synflow.measure(network, small)),
        ("naswot", lambda network: naswot.measure(network, small)),
    ]
    for _, work in works:
        work(networks[0])
    for network in networks:
        for name, work in works:
            rows[name].append(_seconds(work, network, device))
    where = f"{space.name}, one thread, {device}"
    for name, unit in (("ours", f"gradsign, batch {SPEED_BATCH}"), ("loop", f"official loop, batch {SPEED_BATCH}")):
        results.add(f"{unit}, {where}", rows[name], "s")
    for name in ("consensus", "synflow", "naswot"):
        results.add(f"{name}, batch {BATCH}, {where}", rows[name], "s")
    ratios = [theirs / ours for theirs, ours in zip(rows["loop"], rows["ours"], strict=True)]
    results.add(f"official loop / gradsign, {device}", ratios, "ratio", least=least)
    parts = [a / (b + c) for a, b, c in zip(rows["consensus"], rows["synflow"], rows["naswot"], strict=True)]
    results.add(f"consensus / (synflow + naswot), {device}", parts, "ratio", most=2)


def screening(results: Results) -> None:
    """Random search on the table of NAS-Bench-201 with and without a screening of ten proposals."""
    if (table := _table(results, CELLS)) is None:
        return
    with _folder() as folder:
        joined = folder / "nasbench201_with_scores.csv"
        if not joined.exists():
            if results.size is Size.QUICK:
                results.skip(
                    "screening", "it takes the scores of 6,466 cells: run it once without --quick, with NAS_SCORES"
                )
                return
            _join(Path(table), joined, results.size)
        seeds, screens = results.size.pick(4, 200), _screens(results.size)
        settings = Settings(
            space="nasbench201", task=f"table:{joined}", objectives=("accuracy",), trials=max(MARKS), epochs=1
        )
        named = {"random alone": "random"} | {
            f"random, screened by {name}:{CANDIDATES}": _guided(name) for name in screens
        }
        entrants = [Contender.parse(text) for text in named.values()]
        found = compare(plan(settings, "test_accuracy", entrants), entrants, [1], seeds, _cores(), lambda *_: None)
    at = {name: summarise([ran.best for ran in found[text, 1] if ran.best is not None]) for name, text in named.items()}
    for mark in MARKS:
        for name, curves in at.items():
            mean, half = float(curves.mean[mark - 1]), float(curves.interval[mark - 1])
            results.add(f"{name}, {mark} trained", mean, "% test", spread=(mean - half, mean + half))


def _guided(predictor: str) -> str:
    return f"predictor_guided[base=random,predictors={predictor},candidates={CANDIDATES},exploration=0]"


def _screens(size: Size) -> tuple[str, ...]:
    return size.pick(SCREENS, SCREENS, SCREENS + MORE_SCREENS)


def _join(table: Path, joined: Path, size: Size) -> None:
    """Write the table anew, with a column for each number that the predictors measure of a cell.

    Of the cells that compute the same function (one `iso_class`) the first is scored, and its numbers stand for all.
    """
    with gzip.open(table, "rt", newline="") as source:
        classes = {identity(cells.read(row["arch"])): row["iso_class"] for row in csv.DictReader(source)}
    first = {name: key for key, name in reversed(classes.items())}
    trained = from_table("nasbench201", str(table))
    keys = [identity(each) for each in trained.architectures]
    trained = _part(trained, [i for i, key in enumerate(keys) if first[classes[key]] == key])
    names = [name for name in _screens(size) if name != "params"]  # which is a column of the table
    columns = [column for name in names for column in find_predictor(name).columns]
    values = {(row.identity, row.column): row.value for row in _scored(trained, names, size)}
    draft = joined.with_suffix(".draft")
    with gzip.open(table, "rt", newline="") as source, open(draft, "w", newline="") as target:
        rows = csv.DictReader(source)
        writer = csv.writer(target)
        writer.writerow([*(rows.fieldnames or ()), *columns])
        for row in rows:
            key = first[row["iso_class"]]
            writer.writerow([*row.values(), *(values.get((key, column)) for column in columns)])
    draft.rename(joined)


def _report(
    results: Results,
    title: str,
    trained: Trained,
    names: Sequence[str],
    kept: Sequence[ScoreRow],
    bars: dict[str, dict[str, dict[str, float]]],
) -> None:
    """Add each predictor's correlations with their intervals, and how far it is beyond the best baseline."""
    found = evaluate(trained, names, kept)
    for what, agreements in found.agreements.items():
        for name, agreement in agreements.items():
            kinds = (("spearman", RHO), ("kendall", TAU))
            for kind, letter in kinds if what == ALL else kinds[1:]:
                correlation: Correlation | None = getattr(agreement, kind)
                bar = bars.get(name, {}).get(kind, {}) if what == ALL else {}
                head = f"{title}, {what} ({agreement.scored}), {name}"
                if correlation is None:
                    results.skip(f"{head}, {letter}", "it has no correlation, since too few differ")
                    continue
                results.add(head, correlation.value, letter, spread=correlation.interval, **bar)
                difference = correlation.difference
                if difference is not None and kind == "kendall":
                    beyond = f"{head}, less {difference.baseline}"
                    results.add(beyond, difference.value, letter, spread=difference.interval)
    for name, seconds in found.seconds.items():
        if seconds is not None:
            results.add(f"{title}, {name}, an architecture", seconds, "s")
        for reason, count in found.reasons[name].items():
            results.skip(f"{title}, {name}, {count} of {len(trained.results)} architectures", reason)


def _scored(trained: Trained, names: Sequence[str], size: Size) -> list[ScoreRow]:
    """Score what has no scores yet; a scoring in NAS_SCORES is of all architectures that any part asks of a space."""
    with _folder() as folder:
        store = Store.open(f"sqlite:///{folder / 'scores.db'}", create=True)
        with following(f"scoring {len(trained.results)} of {trained.source} by {', '.join(names)}") as watch:
            name = f"{trained.space.name}-{len(trained.results)}"
            workers = _workers(size)
            return score_table(trained, names, store, name, workers=workers, samples=BATCH, watch=watch)


@contextmanager
def _folder() -> Iterator[Path]:
    """Give the folder in which scores are kept, or one for this run alone."""
    if named := os.environ.get("NAS_SCORES"):
        Path(named).mkdir(parents=True, exist_ok=True)
        yield Path(named).absolute()
    else:
        with tempfile.TemporaryDirectory() as made:
            yield Path(made)


def _registered() -> tuple[str, ...]:
    names = [name for name in entries("predictor") if name not in (*MEASURED, *BASELINES)]
    return (*sorted(names), *BASELINES)


def _part(trained: Trained, picked: Sequence[int]) -> Trained:
    architectures = tuple(trained.architectures[i] for i in picked)
    return replace(trained, architectures=architectures, results=tuple(trained.results[i] for i in picked))


def _cell(key: str) -> str:
    """Write a cell that the reference names by its operations, such as (0, 2, 3, 2, 3, 1)."""
    numbers = [int(each) for each in key.strip("()").split(",")]
    decided = {edge: OPERATIONS[number] for edge, number in zip(EDGES, numbers, strict=True)}
    return cells.write({"network": {"cell": decided}})


def _networks(count: int, device: str) -> list[nn.Module]:
    """Build random cells that are not degenerate."""
    space, rng, made = find_space("nasbench201"), Random(0), []
    while len(made) < count:
        architecture = space.draw(rng)
        if not cells.degenerate(architecture):
            with seeded(derive(0, "build")):
                made.append(space.build(architecture, Gaussian((3, 32, 32), 10)).to(device))
    return made


def _seconds(work: Callable[[nn.Module], Any], network: nn.Module, device: str) -> float:
    begin = time.perf_counter()
    work(network)
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _table(results: Results, name: str) -> str | None:
    folder = os.environ.get("NAS_TABLES")
    path = Path(folder or ".") / name
    if folder is None or not path.exists():
        results.skip(name, "set NAS_TABLES to the folder that holds it")
        return None
    return str(path)


def _workers(size: Size) -> int:
    """Return how many processes score: in a quick run this one, since others take long to start."""
    return 1 if size is Size.QUICK else min(2, _cores())


def _cores() -> int:
    return len(os.sched_getaffinity(0))
