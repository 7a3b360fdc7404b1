"""Watching a scoring in a terminal: a live line with a bar, or plain lines where output is not a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Group
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from nas.scoring.bulk import Progress, Watch
from nas.scoring.study import Scoring
from nas.tables import duration
from nas.watching import following as watched


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
    with watched(head, line, _picture, silent=silent) as watch:
        yield watch


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
