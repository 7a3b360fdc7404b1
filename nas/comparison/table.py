"""Printing a comparison, and showing how far it is."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from nas.comparison.report import Comparison, cell
from nas.comparison.runs import Tick
from nas.drawing import FORMATS
from nas.settings import SettingsError
from nas.tables import duration

PLAIN_EVERY = 10.0
FIRST = 5


def print_comparison(comparison: Comparison) -> None:
    """Print a table of test values, one of hypervolumes and one of times to the target, as far as there are any."""
    console = Console()
    plan, marks = comparison.plan, comparison.marks
    seeds = comparison.lines[0].seeds
    of_test = f" (with {plan.test})" if plan.test else ""
    titles = {
        "best": f"{plan.test} of the trial with the best {plan.settings.objectives[0]}, after so many trials",
        "volume": f"hypervolume{of_test} of the front, as a share of the box between the table's best and worst values",
    }
    for name, title in titles.items():
        lines = [(line, curves) for line in comparison.lines if (curves := getattr(line, name)) is not None]
        if lines:
            table = Table(Column("strategy", overflow="fold"), *map(str, marks), title=title, title_justify="left")
            for line, curves in lines:
                table.add_row(escape(line.name), *(cell(curves, mark) for mark in marks))
            console.print(table)
    if any(line.target for line in comparison.lines):
        table = Table("strategy", "reached by", "median trials", "median virtual time", title_justify="left")
        table.title = f"{plan.test} of {comparison.target:g} or better"
        for line in comparison.lines:
            if line.target is not None:
                there = line.target
                times = (f"{there.trials:,.0f}", duration(there.seconds)) if there.trials < float("inf") else ("-", "-")
                table.add_row(escape(line.name), f"{there.share:.0%}", *times)
        console.print(table)
    console.print(
        f"{plan.settings.task}, {seeds} seeds; means with the half-widths of their 95 % intervals", markup=False
    )


def picture_file(output: Path | None) -> Path | None:
    """Return the file to draw to; raises SettingsError for a form that is not drawn."""
    if output is not None and output.suffix.lower() not in FORMATS:
        raise SettingsError(f"--output {str(output)!r} ends in neither {' nor '.join(FORMATS)}: name such a file")
    return output


@contextmanager
def ticking(*, silent: bool) -> Iterator[Tick]:
    """Give a function that shows on standard error how many searches are done."""
    begin = last = time.monotonic()

    def tick(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > PLAIN_EVERY and done >= FIRST:
            last = now
            left = duration((now - begin) / done * (total - done))
            print(f"{done}/{total} searches, about {left} left", file=sys.stderr, flush=True)

    yield (lambda done, total: None) if silent else tick
