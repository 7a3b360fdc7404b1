"""Trained architectures with their results, of a table or of a study: what predictors are judged by."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np

from nas.objectives import unseen
from nas.settings import SettingsError
from nas.store import State
from nas.store.queries import Page
from nas.study import Study
from nas.tasks import looked_up
from nas.tasks.table import Table
from search_spaces.decisions import Architecture
from search_spaces.space import Space, find_space

FEWEST = 3

Row = tuple[Architecture, float]


@dataclass(frozen=True)
class Trained:
    """Architectures of a space with the result of each.

    `source` is the table or study they are of; `what` names the result, and `about` says of which training it is.
    """

    space: Space
    source: str
    architectures: tuple[Architecture, ...]
    results: tuple[float, ...]
    what: str
    about: str
    maximize: bool = True

    @property
    def degenerate(self) -> list[bool] | None:
        """Tell which have an output that does not depend on the input; None where the space does not know."""
        known = self.space.degenerate
        return None if known is None else [known(each) for each in self.architectures]

    @property
    def truth(self) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """The results as something of which more is better."""
        return np.array(self.results, np.float64) * (1 if self.maximize else -1)


def from_table(space: str, path: str, count: int | None = None, column: str | None = None, seed: int = 0) -> Trained:
    """Draw architectures of a table at random; without `count` take all.

    `column` is by default the first that begins with `test`, else `val_accuracy`: a search never sees the test split,
    but here nothing is chosen by it.
    """
    found, table = find_space(space), Table(path)
    if column is None:
        columns = list(table.metrics(found))
        column = next((each for each in columns if unseen(each)), "val_accuracy")
        if column not in columns:
            raise SettingsError(
                f"{table.name} has no column that begins with test, and no val_accuracy: name one with --column, "
                f"such as {', '.join(columns)}"
            )
    rows, left_out = _finite(table.results(found, column))
    if count is not None and count > len(rows):
        raise SettingsError(f"--count {count} is more than {table.name} has: give at most {len(rows)}, or all")
    if count is not None and count < FEWEST:
        raise SettingsError(f"--count {count} is too few to compare anything: give {FEWEST} or more, or all")
    if len(rows) < FEWEST:
        raise SettingsError(
            f"{table.name} has {_architectures(len(rows))} with a result in {column}, but {FEWEST} or more are asked: "
            "name another --table or --column"
        )
    drawn = rows
    if count is not None:
        Random(f"{seed}/evaluate").shuffle(rows)  # a larger count then begins with the same architectures
        drawn = rows[:count]
    drawn_all = "all" if len(drawn) == len(rows) else f"{len(drawn):,} drawn with seed {seed} of"
    split = "test split, by which nothing is chosen here" if unseen(column) else "a column of the table"
    about = f"{drawn_all} {len(rows):,} architectures of {table.name}{left_out}; {split}; mean over its trainings"
    return _trained(found, table.name, drawn, column, about)


def from_study(study: Study) -> Trained:
    """Take the completed trials of a study with their first objective that needs training."""
    if looked_up(study.settings.task):
        raise SettingsError(
            f"the results of study {study.name!r} were looked up in {study.settings.task}, so nothing of it can be "
            "scored: evaluate on the table itself, with --space and --table"
        )
    first = next((each for each in study.objectives if not each.cheap), None)
    if first is None:
        raise SettingsError(
            f"study {study.name!r} has no objective that needs training ({', '.join(study.settings.objectives)}): "
            "name a study with accuracy or loss"
        )
    trials = study.trials(Page(states=(State.COMPLETED,)))
    rows, left_out = _finite([(each.architecture, each.values[first.name]) for each in trials])
    if len(rows) < FEWEST:
        raise SettingsError(
            f"study {study.name!r} has {_architectures(len(rows))} with a result, but {FEWEST} or more are asked: "
            "train more"
        )
    settings, epochs = study.settings, "1 epoch" if study.settings.epochs == 1 else f"{study.settings.epochs} epochs"
    about = (
        f"the {len(rows):,} completed trials of study {study.name}{left_out}; validation split of {settings.task}, "
        f"split seed {settings.split_seed}, {epochs}, seed {settings.seed}; one training each"
    )
    return _trained(study.space, study.name, rows, first.name, about, first.maximize)


def _finite(rows: Sequence[Row]) -> tuple[list[Row], str]:
    """Return those whose result is a finite number, and words for how many have none."""
    found = [row for row in rows if math.isfinite(row[1])]
    left_out = len(rows) - len(found)
    return found, f" ({left_out:,} left out, whose result is not finite)" if left_out else ""


def _architectures(count: int) -> str:
    return "1 architecture" if count == 1 else f"{count:,} architectures"


def _trained(space: Space, source: str, rows: Sequence[Row], what: str, about: str, maximize: bool = True) -> Trained:
    architectures, results = zip(*rows, strict=True)
    return Trained(space, source, architectures, results, what, about, maximize)
