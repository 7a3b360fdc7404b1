"""Tables of results: what trainings gave that somebody made before, looked up instead of trained again.

`table:PATH` reads any file of this form, gzipped or not; `table:NAME` one that ships with the package.

    CSV    a head of column names, then a row for each result
    JSON   a list of objects, each a row; or an object from key to such a row, or to a list of them

A row names its architecture in one of three ways:

    a column `architecture`, `arch`, `notation` or `key` (in JSON also the key itself) that holds the architecture's
    JSON, or its text in the notation of the space, where the space has one;
    a column for each decision, named by its path, such as `network.stages[0].width`; what is not active stays empty.

Three columns have a meaning of their own, and each may be missing:

    epoch     the row is the state after so many epochs, and an architecture has a row for each; without it a row is
              the result of a full training, however long
    seed      the row belongs to one of several trainings; which of them a trial sees follows from the trial's seed
    seconds   how long the epoch took, or without `epoch` the whole training

Every other column is a metric and holds numbers; an empty cell is one that is not known, and a list in JSON holds the
results of repeated trainings. The objective `accuracy` reads `val_accuracy`, `loss` reads `val_loss`, and params,
flops, latency and memory the column of their name, before any training; another column is an objective as
`max:COLUMN` or `min:COLUMN`. Numbers stay as they are: an accuracy in per cent remains one. Columns whose names begin
with `test` are kept for reports, and a search never sees them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import ClassVar

from nas.job import Infeasible
from nas.tasks import Known, Part
from nas.tasks.table_file import TableError, read_table
from nas.tasks.table_index import FULL, Curve, Index, build_index
from search_spaces.decisions import Architecture, canonical, identity
from search_spaces.registry import register
from search_spaces.space import Space

SHIPPED = Path(__file__).parents[1] / "data"


@register("task", "table")
class Table:
    """Results of trainings made before, from a CSV or JSON file or one of the package's own."""

    argument: ClassVar[str] = "PATH"
    forks: ClassVar[bool] = False

    def __init__(self, path: str) -> None:
        self.name = f"table:{path}"
        self._file = read_table(_place(path))

    @property
    def content(self) -> str:
        return self._file.content

    def metrics(self, space: Space) -> Collection[str]:
        return self._index(space).metrics

    def epochs(self, space: Space) -> Collection[int] | None:
        return self._index(space).epochs

    def look_up(
        self, space: Space, architecture: Architecture, seed: int, epochs: int, parts: Sequence[Part] = ()
    ) -> Known:
        runs = self._runs(space, architecture)
        curve = runs[seed % len(runs)]
        if self._index(space).epochs is None:
            return Known.of({epochs: curve[FULL]})
        if epochs not in curve:
            raise Infeasible(f"{self.name} has no epoch {epochs} of {_shown(space, architecture)}")
        return Known.of({number: figures for number, figures in curve.items() if number <= epochs})

    def untrained(self, space: Space, architecture: Architecture) -> Mapping[str, float]:
        curve = self._runs(space, architecture)[0]
        return curve[min(curve)]

    def _runs(self, space: Space, architecture: Architecture) -> list[Curve]:
        runs = self._index(space).runs.get(identity(architecture))
        if runs is None:
            raise Infeasible(f"{self.name} has no row for {_shown(space, architecture)}")
        return runs

    def figures(self, space: Space) -> list[dict[str, float]]:
        """Return the last figures of every training in the table, those of the test split with them."""
        curves = (curve for runs in self._index(space).runs.values() for curve in runs)
        return [curve[max(curve)] for curve in curves]

    def results(self, space: Space, column: str) -> list[tuple[Architecture, float]]:
        """Return every architecture with its last figure in a column, the mean over its trainings.

        An architecture without a figure there is left out; raises TableError for a column that is none.
        """
        index = self._index(space)
        if column not in index.metrics:
            raise TableError(f"{self.name} has no column {column!r}: it has {', '.join(index.metrics)}")
        last = {each: [run[max(run)].get(column) for run in runs] for each, runs in index.runs.items()}
        known = {each: [value for value in values if value is not None] for each, values in last.items()}
        return [(index.architectures[each], fmean(values)) for each, values in known.items() if values]

    def _index(self, space: Space) -> Index:
        return build_index(self._file, space)


def _place(path: str) -> Path:
    """Return a path as it is; a bare name is that of a table of the package's own."""
    if Path(path).name != path or Path(path).suffix:
        return Path(path).expanduser()
    shipped = SHIPPED / f"{path}.csv.gz"
    if not shipped.exists():
        names = ", ".join(sorted(file.name.removesuffix(".csv.gz") for file in SHIPPED.glob("*.csv.gz")))
        raise TableError(f"table {path!r} is none of the package's own ({names}): write a file as ./{path}")
    return shipped


def _shown(space: Space, architecture: Architecture) -> str:
    text = space.notation.write(architecture) if space.notation else canonical(architecture)
    return text if len(text) <= 200 else f"{text[:200]}..."
