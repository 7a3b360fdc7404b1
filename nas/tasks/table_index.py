"""The results of a table by the identity of their architecture, which takes a space to read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nas.tasks.table_file import KEY, Row, TableError, TableFile
from search_spaces.decisions import Architecture, Choice, Decision, DecisionError, Integer, every, identity
from search_spaces.space import Space

NAMES = ("architecture", "arch", "notation", KEY)
EPOCH, SEED, SECONDS, CLOCK = "epoch", "seed", "seconds", "clock"
FULL = 1

Figures = dict[str, float]
Curve = dict[int, Figures]


@dataclass(frozen=True)
class Index:
    """The curves of each architecture, in the order of their seeds: by epoch, what is known after it.

    `epochs` are those of any curve, None where the table does not tell them apart. `architectures` and `runs` are by
    identity, in the order of the file.
    """

    metrics: tuple[str, ...]
    epochs: tuple[int, ...] | None
    architectures: dict[str, Architecture]
    runs: dict[str, list[Curve]]


class _Same:
    """Tells apart files and spaces that are other objects, which costs nothing to hash."""

    def __init__(self, file: TableFile, space: Space) -> None:
        self.file, self.space = file, space

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.file is other.file and self.space is other.space

    def __hash__(self) -> int:
        return hash((id(self.file), id(self.space)))


def build_index(file: TableFile, space: Space) -> Index:
    """Return a table's index for a space, made once; raises TableError where the two do not fit."""
    return _build(_Same(file, space))


@lru_cache(maxsize=8)
def _build(pair: _Same) -> Index:
    file, space = pair.file, pair.space
    name, paths = _naming(file, space), every(space.tree)
    metrics = tuple(c for c in file.columns if c not in paths and c not in (name, EPOCH, SEED))
    if CLOCK in metrics:
        raise TableError(f"table {file.path} has a column {CLOCK!r}, which is that of the simulation: rename it")
    identities = _Identities(file, space, name, paths)
    results: dict[str, dict[tuple[int, int], Curve]] = {}
    for row in file.rows:
        curves = results.setdefault(identities.of(row), {})
        seed, epoch = _count(file, row, SEED, 0), _count(file, row, EPOCH, FULL)
        for repeat, figures in enumerate(_figures(file, row, metrics)):
            if not 0 <= figures.get(SECONDS, 0) < math.inf:
                raise file.error(row, f"{SECONDS} is {figures[SECONDS]:g}, but a number from 0 up is asked; mend it")
            curve = curves.setdefault((seed, repeat), {})
            if epoch in curve:
                raise file.error(
                    row, f"its architecture{_at(file, seed, epoch)} is there already: tell them apart by {SEED!r}"
                )
            curve[epoch] = figures
    epochs = {epoch for curves in results.values() for curve in curves.values() for epoch in curve}
    runs = {each: [curves[run] for run in sorted(curves)] for each, curves in results.items()}
    told_apart = tuple(sorted(epochs)) if EPOCH in file.columns else None
    return Index(metrics, told_apart, identities.architectures, runs)


def _naming(file: TableFile, space: Space) -> str | None:
    """Return the column that names architectures, None where the decisions have columns."""
    name = next((each for each in NAMES if each in file.columns), None)
    paths = list(every(space.tree))
    if name is None and not set(paths) & set(file.columns):
        raise TableError(
            f"table {file.path} has no column {', '.join(NAMES)}, nor one for the decisions of {space.name} "
            f"({', '.join(paths[:3])}, ...), but {', '.join(file.columns)}: name the architectures, or give the "
            "--space that it was made for"
        )
    return name


class _Identities:
    """Reads the `architectures` of rows; a text that comes again is not read again."""

    def __init__(self, file: TableFile, space: Space, name: str | None, paths: Mapping[str, Decision]) -> None:
        self._file, self._space, self._name = file, space, name
        self._paths = {path: domain for path, domain in paths.items() if path in file.columns}
        self._known: dict[Any, str] = {}
        self.architectures: dict[str, Architecture] = {}

    def of(self, row: Row) -> str:
        """Return the identity of a row's architecture; raises TableError."""
        text = tuple(map(row.cells.get, self._paths)) if self._name is None else row.cells.get(self._name)
        key = text if isinstance(text, str | tuple) else json.dumps(text)
        if key not in self._known:
            try:
                architecture = self._by_paths(row) if self._name is None else self._by_name(text)
            except ValueError as error:
                raise self._file.error(
                    row, f"{error}; mend the row, or give the --space that the table was made for"
                ) from None
            self._known[key] = identity(architecture)
            self.architectures.setdefault(self._known[key], architecture)
        return self._known[key]

    def _by_name(self, text: Any) -> Architecture:
        if not text:
            raise DecisionError(f"{self._name} is empty")
        if isinstance(text, str) and not text.lstrip().startswith("{"):
            if self._space.notation is None:
                raise DecisionError(f"{self._name} is {text[:40]!r}, but {self._space.name} is written as JSON only")
            return self._space.notation.read(text)
        trace = self._space.trace(json.loads(text) if isinstance(text, str) else text)
        return self._space.resolve(lambda path, domain: trace[path])[0]

    def _by_paths(self, row: Row) -> Architecture:
        cells = {path: row.cells[path] for path in self._paths if row.cells.get(path) not in ("", None)}

        def decide(path: str, domain: Decision) -> Any:
            if path not in cells:
                raise DecisionError(f"{path} has no value, but {domain} is asked")
            return _answer(domain, cells[path])

        architecture, trace = self._space.resolve(decide)
        if spare := [path for path in cells if path not in trace]:
            raise DecisionError(f"{spare[0]} is {cells[spare[0]]!r}, but it is not active there: leave it empty")
        return architecture


def _answer(domain: Decision, cell: Any) -> Any:
    """Read a CSV's text as its domain writes values; what cannot be read stays, for the domain to refuse."""
    if not isinstance(cell, str):
        return cell
    if isinstance(domain, Choice):
        written = {json.dumps(option): option for option in domain.options}
        return {str(option): option for option in domain.options}.get(cell, written.get(cell, cell))
    read: Callable[[str], float] = int if isinstance(domain, Integer) else float
    try:
        return read(cell)
    except ValueError:
        return cell


def _count(file: TableFile, row: Row, column: str, without: int) -> int:
    """Read a whole number: any seed, an epoch from 1 up."""
    if column not in file.columns:
        return without
    cell = row.cells.get(column)
    try:
        number = int(cell) if isinstance(cell, str | int) else None
    except ValueError:
        number = None
    if number is None or (column == EPOCH and number < 1):
        allowed = "a whole number from 1 up" if column == EPOCH else "a whole number"
        raise file.error(row, f"{column} is {cell!r}, but {allowed} is asked; mend it")
    return number


def _figures(file: TableFile, row: Row, metrics: tuple[str, ...]) -> list[Figures]:
    """Return a row's metrics, for each of the repeated trainings that its lists hold."""
    cells = row.cells
    try:
        return [{name: float(cells[name]) for name in metrics}]
    except (KeyError, TypeError, ValueError):
        pass
    there = {name: cells[name] for name in metrics if cells.get(name) not in ("", None)}
    repeats = {len(cell) for cell in there.values() if isinstance(cell, list)}
    if len(repeats) > 1 or 0 in repeats:
        raise file.error(
            row, f"its lists hold {sorted(repeats)} results, but each as many as the others is asked; mend it"
        )
    found: list[Figures] = [{} for _ in range(max(repeats, default=1))]
    for name, cell in there.items():
        for i, figures in enumerate(found):
            value = cell[i] if isinstance(cell, list) else cell
            try:
                figures[name] = float(value)
            except (TypeError, ValueError):
                raise file.error(
                    row, f"{name} is {value!r}, but a number is asked: mend it, or take the column out"
                ) from None
    return found


def _at(file: TableFile, seed: int, epoch: int) -> str:
    parts = [f" with {SEED} {seed}"] if SEED in file.columns else []
    parts += [f" after {EPOCH} {epoch}"] if EPOCH in file.columns else []
    return "".join(parts)
