"""Watching a scoring in a terminal: a live line with a bar, or plain lines where output is not a terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.scoring.bulk import Progress, Watch
from nas.scoring.study import Scoring
from nas.tables import duration

PLAIN_EVERY = 5.0


@contextmanager
def watching(scoring: Scoring, *, silent: bool = False) -> Iterator[Watch]:
    """Give a function that shows a scoring's progress on standard error."""
    s = scoring.settings
    samples = "1 sample" if s.samples == 1 else f"{s.samples} samples"
    head = f"scoring {scoring.name}: {s.space} by {', '.join(s.predictors)} with {samples} of {s.task}"
    with following(head, silent=silent) as watch:
        yield watch


@contextmanager
def following(head: str, *, silent: bool = False) -> Iterator[Watch]:
    """Give a function that shows the progress of a scoring under a head."""
    console = Console(stderr=True)
    if silent:
        yield lambda progress: None
    elif console.is_terminal:
        console.print(head, highlight=False, markup=False)
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield lambda progress: live.update(_picture(progress))
    else:
        print(head, file=sys.stderr, flush=True)
        yield Lines()


class Lines:
    """Prints a line every few seconds, and at the end."""

    def __init__(self) -> None:
        self._due = time.monotonic() + PLAIN_EVERY

    def __call__(self, progress: Progress) -> None:
        ended = progress.done >= progress.total
        if time.monotonic() < self._due and not ended:
            return
        self._due = float("inf") if ended else time.monotonic() + PLAIN_EVERY
        print(line(progress), file=sys.stderr, flush=True)


def line(progress: Progress) -> str:
    """Say in a line where a scoring stands."""
    parts = [f"{progress.done}/{progress.total} architectures in {duration(progress.seconds)}", *_rest(progress)]
    return " · ".join(parts)


def _rest(progress: Progress) -> list[str]:
    told = [f"{progress.already} of them scored before"] if progress.already else []
    told += [f"{progress.without} without a score"] if progress.without else []
    told += ["starting workers"] if progress.done == progress.already < progress.total else []
    left = progress.left
    return told + ([f"about {duration(left)} left"] if left is not None and progress.done < progress.total else [])


def _picture(progress: Progress) -> Group:
    bar = Table.grid(padding=(0, 1))
    done = f"{progress.done}/{progress.total} architectures in {duration(progress.seconds)}"
    bar.add_row(ProgressBar(progress.total, progress.done, width=40), done)
    lines = [Text(" · ".join(_rest(progress)))]
    if progress.last:
        lines.append(Text(progress.last, style="yellow", overflow="ellipsis", no_wrap=True))
    return Group(bar, *lines)
