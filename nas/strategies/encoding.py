"""Architectures as rows of numbers, for models that learn from finished trials.

A choice is one column an option, sqrt(1/2) where it is taken, so that two options are a distance of 1 apart; a number
is its place in its domain, from 0 to 1, in the logarithm where the domain is logarithmic. Where a decision is not
active its columns hold 0, or the middle for a number, which then has a second column that says whether it is active.

Decisions of one kind, whose paths differ in digits alone (the operation of every edge, the width of every stage), have
columns in common besides: the sum over the places, divided by the root of their number. So what holds in all places
alike is learned from few trials.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search_spaces.decisions import Choice, Decision, Domain, Scalar, every

Row = NDArray[np.float64]

TAKEN = math.sqrt(0.5)
MIDDLE = 0.5


@dataclass(frozen=True)
class Columns:
    """Where a decision is written: its own first column, that of its activity, the first of its kind and a weight."""

    domain: Decision
    own: int
    activity: int | None
    kind: int | None
    weight: float


class Encoding:
    """How the decisions of a tree become a row of `width` numbers."""

    def __init__(self, tree: Domain) -> None:
        kinds: dict[tuple[str, str], dict[str, Decision]] = {}
        for path, domain in every(tree).items():
            kinds.setdefault((re.sub(r"\d+", "", path), str(domain)), {})[path] = domain
        self._idle: list[float] = []
        self._columns: dict[str, Columns] = {}
        for places in kinds.values():
            self._lay_out(places)
        self._template = np.array(self._idle)
        self.width = len(self._idle)

    def row(self, trace: Mapping[str, Scalar]) -> Row:
        """Return the row of the architecture that has this trace."""
        row = self._template.copy()
        for path, value in trace.items():
            columns = self._columns[path]
            domain = columns.domain
            option, written = (
                (domain.options.index(value), TAKEN) if isinstance(domain, Choice) else (0, _place(domain, value))
            )
            row[columns.own + option] = written
            if columns.activity is not None:
                row[columns.activity] = TAKEN
            if columns.kind is not None:
                row[columns.kind + option] += columns.weight * written
        return row

    def _lay_out(self, places: Mapping[str, Decision]) -> None:
        width = max(map(_width, places.values()))
        kind = self._claim(width) if len(places) > 1 else None
        for path, domain in places.items():
            conditional = not isinstance(domain, Choice) and any(mark in path for mark in ":[")
            own = self._claim(width, 0.0 if isinstance(domain, Choice) else MIDDLE)
            activity = self._claim(1) if conditional else None
            self._columns[path] = Columns(domain, own, activity, kind, 1 / math.sqrt(len(places)))

    def _claim(self, columns: int, idle: float = 0.0) -> int:
        self._idle += [idle] * columns
        return len(self._idle) - columns


def _width(domain: Decision) -> int:
    return len(domain.options) if isinstance(domain, Choice) else 1


def _place(domain: Any, value: Any) -> float:
    if domain.log:
        return math.log(value / domain.low) / math.log(domain.high / domain.low)
    place: float = (value - domain.low) / (domain.high - domain.low)
    return place
