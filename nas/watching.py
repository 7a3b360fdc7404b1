"""Watching a run in a terminal: a live display, or plain lines where output is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Generic, Protocol, TypeVar

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.plans.search import strategy_of
from nas.progress import Progress, Watch
from nas.store import State
from nas.strategies import Finder
from nas.study import Study
from nas.tables import duration, figure
from nas.training.names import STRENGTH

PLAIN_EVERY = 5.0
SHOWN = 8


@contextmanager
def watching(study: Study, *, silent: bool = False) -> Iterator[Watch]:
    """Give a function that shows a run's progress on standard error."""
    settings = study.settings
    head = f"study {study.name}: {settings.space} on {settings.task}, {settings.strategy}"
    head += "" if settings.schedule == "none" else f" with {settings.schedule}"
    epochs = "1 epoch" if settings.epochs == 1 else f"{settings.epochs} epochs"
    head += f", {epochs} a trial" if settings.schedule == "none" else f", up to {epochs} a trial"
    strategy = strategy_of(settings, study.space)
    if isinstance(strategy, Finder):
        head += f"\n{strategy.plan}"
    with following(head, _line, _picture, silent=silent) as watch:
        yield watch


class Counted(Protocol):
    """How far work is that is counted."""

    @property
    def done(self) -> int: ...

    @property
    def total(self) -> int: ...


Seen = TypeVar("Seen", bound=Counted)


@contextmanager
def following(
    head: str, line: Callable[[Seen], str], picture: Callable[[Seen], Group], *, silent: bool
) -> Iterator[Callable[[Seen], None]]:
    """Give a function that shows progress under a head: as a live picture in a terminal, else in plain lines."""
    console = Console(stderr=True)
    if silent:
        yield lambda progress: None
    elif console.is_terminal:
        console.print(head, highlight=False, markup=False)
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield lambda progress: live.update(picture(progress))
    else:
        print(head, file=sys.stderr, flush=True)
        yield Lines(line)


class Lines(Generic[Seen]):
    """Prints a line every few seconds, and at the end."""

    def __init__(self, line: Callable[[Seen], str]) -> None:
        self._line = line
        self._said = 0
        self._due = time.monotonic() + PLAIN_EVERY

    def __call__(self, progress: Seen) -> None:
        for line in getattr(progress, "said", ())[self._said :]:
            print(line, file=sys.stderr, flush=True)
            self._said += 1
        ended = progress.done >= progress.total
        if time.monotonic() < self._due and not ended:
            return
        self._due = float("inf") if ended else time.monotonic() + PLAIN_EVERY
        print(self._line(progress), file=sys.stderr, flush=True)


def _line(progress: Progress) -> str:
    parts = [f"{progress.done}/{progress.total} trials in {duration(progress.seconds)}"]
    parts += [f"{count} {state.lower()}" for state, count in sorted(progress.counts.items())]
    parts += [f"{len(progress.running)} running"] if progress.running else []
    parts += [f"best {name} {figure(name, value)} (trial {n})" for name, (value, n) in progress.best.items()]
    parts += [f"supernet {number}: {_supernet(metrics)}" for number, metrics in sorted(progress.supernets.items())]
    if progress.left is not None and progress.done < progress.total:
        parts.append(f"about {duration(progress.left)} left")
    return " · ".join(parts)


def _picture(progress: Progress) -> Group:
    bar = Table.grid(padding=(0, 1))
    left = "" if progress.left is None else f"about {duration(progress.left)} left"
    bar.add_row(
        ProgressBar(progress.total, progress.done, width=40),
        f"{progress.done}/{progress.total}",
        duration(progress.seconds),
        left,
    )
    states = [f"{count} {state.lower()}" for state, count in sorted(progress.counts.items())]
    running = [f"{number}: epoch {step}" for number, step in sorted(progress.running.items())][:8]
    lines = [Text(" · ".join(states) or "starting workers")]
    if running:
        lines.append(Text("running   " + " · ".join(running), style="cyan"))
    for number, metrics in sorted(progress.supernets.items()):
        lines.append(Text(f"supernet {number}  {_supernet(metrics)}", style="magenta"))
        lines += [Text(f"  {path:<36} {shares}") for path, shares in _strengths(metrics)[:SHOWN]]
    for name, (value, number) in progress.best.items():
        lines.append(Text(f"best {name:<10} {figure(name, value)} (trial {number})", style="green"))
    if progress.last:
        failed = State.FAILED in progress.counts
        lines.append(Text(progress.last, style="red" if failed else "yellow", overflow="ellipsis", no_wrap=True))
    return Group(bar, *lines)


def _supernet(metrics: Mapping[str, float]) -> str:
    """Say how good a supernet is on the validation split, and how undecided."""
    told = [f"accuracy {metrics['val_accuracy']:.4f}"] if "val_accuracy" in metrics else []
    told += [f"entropy {metrics['entropy']:.2f}"] if "entropy" in metrics else []
    return ", ".join(told) or "no accuracy yet"


def _strengths(metrics: Mapping[str, float]) -> list[tuple[str, str]]:
    """Return each relaxed path with its options, the strongest first."""
    shares: dict[str, list[tuple[float, str]]] = {}
    for name, value in metrics.items():
        if name.startswith(STRENGTH):
            path, _, option = name.removeprefix(STRENGTH).rpartition("=")
            shares.setdefault(path, []).append((value, option))
    return [
        (path, "  ".join(f"{option} {value:.2f}" for value, option in sorted(each, reverse=True)[:4]))
        for path, each in shares.items()
    ]
