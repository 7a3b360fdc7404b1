"""Make the table `digits_bench` that ships with the package: every architecture of its space trained on the digits.

python benchmarks/digits_table.py --workers 2 --output nas/data/digits_bench.csv.gz

A row is the state after an epoch of one training; the seeds are those of a trial, so `nas search --task digits` with
the same seed and epochs gives the same figures. The same command makes the same file but for the column `seconds`.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch

from nas.job import Job
from nas.tasks import find_task
from nas.training.evaluate import build
from nas.training.loop import train, validate
from nas.training.measures import measure
from search_spaces.decisions import Choice, Scalar, Trace, every
from search_spaces.space import Space, find_space

SPACE, TASK, EPOCHS = "digits_bench", "digits", 5
OUTPUT = Path(__file__).parents[1] / "nas" / "data" / f"{SPACE}.csv.gz"
MEASURED = ("params", "flops", "memory")
METRICS = (*MEASURED, "train_loss", "val_loss", "val_accuracy", "test_accuracy")


def main() -> None:
    """Read the command line, train, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--workers", type=int, default=1, help="processes, of one thread each")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the table, a gzipped CSV")
    parser.add_argument("--seed", type=int, default=0, help="of each architecture's first training")
    parser.add_argument("--repeats", type=int, default=2, help="trainings of each architecture")
    options = parser.parse_args()
    space = find_space(SPACE)
    work = list(product(traces(space), range(options.seed, options.seed + options.repeats)))
    rows: list[dict[str, Any]] = []
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        for done, found in enumerate(pool.map(partial(trained, space.name), *zip(*work, strict=True)), 1):
            rows += found
            print(f"{done}/{len(work)}", end="\r", flush=True)
    write(options.output, rows)


def traces(space: Space) -> Iterator[Trace]:
    """List the architectures of a space without conditions, as traces."""
    domains = every(space.tree)
    for values in product(*(_values(domain) for domain in domains.values())):
        yield dict(zip(domains, values, strict=True))


def _values(domain: Any) -> tuple[Scalar, ...]:
    return domain.options if isinstance(domain, Choice) else tuple(range(domain.low, domain.high + 1, domain.step))


def trained(space: str, trace: Trace, seed: int) -> list[dict[str, Any]]:
    """Train one architecture as a trial is trained, and return a row for each epoch."""
    torch.set_num_threads(1)
    task = find_task(TASK)
    architecture, _ = find_space(space).resolve(lambda path, domain: trace[path])
    network = build(Job(0, 1, architecture, seed, space, TASK), task)
    measured = {name: int(value) for name, value in measure(MEASURED, network, task).items()}
    rows = []
    for report in train(network, task, architecture["training"], EPOCHS, seed):
        losses = {name: f"{report.metrics[name]:.6g}" for name in ("train_loss", "val_loss")}
        accuracies = {
            "val_accuracy": report.metrics["val_accuracy"],
            "test_accuracy": validate(network, task.test())[1],
        }
        shares = {name: f"{value:.6f}" for name, value in accuracies.items()}
        at = {"seed": seed, "epoch": report.step}
        rows.append(trace | at | measured | losses | shares | {"seconds": f"{report.metrics['seconds']:.3f}"})
    return rows


def write(output: Path, rows: list[dict[str, Any]]) -> None:
    """Write a gzipped CSV without name and time in its head, so that equal tables are equal files."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_bytes(gzip.compress(text.getvalue().encode(), 9, mtime=0))
    print(f"{len(rows)} rows in {output}, {output.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
