"""The face that all benchmarks share: figures with bars, a table at the end, JSON, and an exit code.

A benchmark is a script with named parts. `--quick` takes under a minute, `--full` all the time it wants, `--only`
picks parts, `--json FILE` keeps the figures with the machine, the versions and what the peers ran. The exit code is
1 where a bar does not hold.
"""

from __future__ import annotations

import argparse
import enum
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console
from rich.markup import escape
from rich.table import Table

T = TypeVar("T")


class Size(enum.StrEnum):
    """How much a run measures."""

    QUICK = "quick"
    USUAL = "usual"
    FULL = "full"

    def pick(self, quick: T, usual: T, full: T | None = None) -> T:
        """Return the value for this size; `full` is as `usual` unless given."""
        if self is Size.QUICK:
            return quick
        return full if self is Size.FULL and full is not None else usual


@dataclass(frozen=True)
class Figure:
    """One measured value with its unit. `bar` reads ">= 25" or "<= 0.3"; without a bar the figure always holds.

    `spread` is the least and the greatest of the repeats of which the value is the median or the mean, or the interval
    of a mean where the benchmark says so.
    """

    name: str
    value: float
    unit: str
    bar: str = ""
    holds: bool = True
    spread: tuple[float, float] | None = None


@dataclass
class Results:
    """What a run has measured so far, and what it ran to compare with."""

    size: Size
    figures: list[Figure] = field(default_factory=list)
    peers: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)

    def add(
        self,
        name: str,
        values: float | Sequence[float],
        unit: str,
        *,
        least: float | None = None,
        most: float | None = None,
        spread: tuple[float, float] | None = None,
    ) -> None:
        """Keep the median of repeats and whether it is within its bar; not-a-number never is.

        `spread` stands for the least and the greatest of the repeats, an interval of a mean for instance.
        """
        repeats = [float(values)] if isinstance(values, int | float) else [float(each) for each in values]
        value = statistics.median(repeats)
        bars = [f"{sign} {limit:g}" for sign, limit in ((">=", least), ("<=", most)) if limit is not None]
        holds = (least is None or value >= least) and (most is None or value <= most)
        spread = (min(repeats), max(repeats)) if len(repeats) > 1 else spread
        figure = Figure(name, value, unit, " and ".join(bars), holds, spread)
        self.figures.append(figure)
        print(f"{name}: {_rounded(value)} {unit}", file=sys.stderr, flush=True)

    def peer(self, name: str, command: str) -> None:
        """Say what a peer ran, so that others can run it too."""
        self.peers[name] = command

    def skip(self, name: str, why: str) -> None:
        """Name a peer, or a device, that is not there."""
        self.skipped[name] = why

    @property
    def hold(self) -> bool:
        return all(figure.holds for figure in self.figures)


Part = Callable[[Results], None]


def run(title: str, parts: Mapping[str, Part], packages: Sequence[str] = (), argv: Sequence[str] | None = None) -> int:
    """Run a benchmark's parts as its command line asks, print the table and return the exit code."""
    options = _options(title, parts, argv)
    size = Size.QUICK if options.quick else Size.FULL if options.full else Size.USUAL
    results = Results(size)
    before, begin = os.getloadavg(), time.perf_counter()
    for name, part in parts.items():
        if name in (options.only or parts):
            part(results)
    record = {
        "benchmark": title,
        "size": size,
        "figures": [asdict(figure) for figure in results.figures],
        "peers": results.peers,
        "skipped": results.skipped,
        "machine": machine(),
        "versions": versions(packages),
        "load": {"before": before, "after": os.getloadavg()},
        "seconds": time.perf_counter() - begin,
        "command": " ".join([sys.executable, *(sys.argv if argv is None else argv)]),
    }
    if options.json:
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    _show(title, results, record)
    return 0 if results.hold else 1


def machine() -> dict[str, Any]:
    """Describe this machine: processor, cores that may be used, memory, system and Python."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
    }


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the installed version of each package, None where it is not there."""
    found: dict[str, str | None] = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _options(title: str, parts: Mapping[str, Part], argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=title)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="small numbers, under a minute")
    size.add_argument("--full", action="store_true", help="large numbers, as long as it takes")
    parser.add_argument("--only", nargs="+", choices=list(parts), metavar="PART", help=f"some of {', '.join(parts)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the figures in a file")
    return parser.parse_args(argv)


def _show(title: str, results: Results, record: Mapping[str, Any]) -> None:
    table = Table("figure", "value", "spread", "unit", "bar", "holds", title=title)
    for figure in results.figures:
        spread = " to ".join(map(_rounded, figure.spread)) if figure.spread else ""
        holds = "" if not figure.bar else "yes" if figure.holds else "NO"
        table.add_row(escape(figure.name), _rounded(figure.value), spread, figure.unit, figure.bar, holds)
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    for name, why in results.skipped.items():
        console.print(f"skipped: {name}: {why}", markup=False)
    load, cores = record["load"]["after"][0], record["machine"]["cores"]
    console.print(f"{cores} cores, load {load:.1f}, {record['seconds']:.0f} s, size {results.size}", markup=False)


def _rounded(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 10 else f"{value:.3g}"


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
