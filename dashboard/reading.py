"""What the pages know of a study: how it stands, and its completed trials with their front."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from dashboard.words import figure
from nas import pareto
from nas.store import State, Store, queries
from nas.store.queries import Spread, StudyRow


@dataclass(frozen=True)
class Completed:
    """The completed trials of a search: values `[trials, objectives]`, and the rows that are on the front."""

    names: tuple[str, ...]
    numbers: NDArray[np.int32]
    values: NDArray[np.float64]
    front: NDArray[np.int64]
    confirmed: dict[int, dict[str, Spread]]

    @cached_property
    def leaders(self) -> frozenset[int]:
        """The numbers of the trials on the front."""
        return frozenset(self.numbers[self.front].tolist())

    def column(self, name: str) -> NDArray[np.float64]:
        return self.values[:, self.names.index(name)]


def objectives(study: StudyRow) -> tuple[str, ...]:
    return tuple(str(name) for name in study.settings.get("objectives", ()))


def planned(study: StudyRow) -> int | None:
    trials = study.settings.get("trials")
    return trials if isinstance(trials, int) else None


def completed(store: Store, study: StudyRow) -> Completed:
    """Read the completed trials; what was read is kept until another trial completes."""
    done = queries.tally(store, study.id).get(State.COMPLETED, 0)
    return _completed(store, study.id, objectives(study), done)


@lru_cache(maxsize=8)
def _completed(store: Store, study: int, names: tuple[str, ...], _done: int) -> Completed:
    rows = queries.values(store, study, *names)
    values = np.array([each for _, each in rows], dtype=float).reshape(len(rows), len(names))
    return Completed(
        names,
        np.array([number for number, _ in rows], dtype=np.int32),
        values,
        front(names, values),
        queries.confirmed(store, study),
    )


def front(names: tuple[str, ...], values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return the rows that no other dominates, in order; not-a-number is the worst value of all."""
    signs = np.array([-1.0 if figure(name).maximize else 1.0 for name in names])
    losses = np.where(np.isnan(values), np.inf, values * signs)
    return np.array(pareto.front(losses), dtype=np.int64)
