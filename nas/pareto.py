"""Several objectives at once: dominance, ranks, crowding and hypervolume. Everything is minimised here.

Points are rows of an array `[points, objectives]`. A point dominates another when it is nowhere worse and
somewhere better (Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm, 2002).
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
SCOUTS = 32


def front(points: Sequence[Sequence[float]] | Points) -> list[int]:
    """Return the indices of the points that no other point dominates, in their order; equal points all stay."""
    array = np.asarray(points, dtype=float)
    if not len(array):
        return []
    alive = _standing(array)
    kept: list[int] = []
    for index in alive[np.lexsort(array[alive].T[::-1])]:
        rivals = array[kept]
        beaten = (rivals <= array[index]).all(axis=1) & (rivals < array[index]).any(axis=1)
        if not beaten.any():
            kept.append(int(index))
    return sorted(kept)


def _standing(array: Points) -> NDArray[np.intp]:
    """Drop what one of a few good points beats: of many points that leaves few for the slow comparison."""
    alive = np.arange(len(array))
    if len(array) <= SCOUTS:
        return alive
    places = array.argsort(axis=0).argsort(axis=0).sum(axis=1)
    beaten = np.zeros(len(array), dtype=bool)
    for scout in array[np.argsort(places)[:SCOUTS]]:
        beaten |= (scout <= array).all(axis=1) & (scout < array).any(axis=1)
    return alive[~beaten]


def ranks(points: Sequence[Sequence[float]] | Points) -> list[int]:
    """Return each point's non-dominated rank: 0 for the front, 1 for the front of the rest, and so on.

    O(n log n) for one and two objectives, O(n^2) for more.
    """
    array = np.asarray(points, dtype=float)
    if not len(array):
        return []
    distinct, inverse = np.unique(array, axis=0, return_inverse=True)
    columns = distinct.shape[1]
    ranked = np.arange(len(distinct)) if columns == 1 else _pair_ranks(distinct) if columns == 2 else _peel(distinct)
    result: list[int] = ranked[inverse.reshape(-1)].tolist()
    return result


def _pair_ranks(distinct: Points) -> NDArray[np.intp]:
    """Rank distinct points in lexicographic order: each goes to the first front whose last point is above it."""
    lowest: list[float] = []
    ranked = np.empty(len(distinct), dtype=np.intp)
    for i, height in enumerate(distinct[:, 1].tolist()):
        ranked[i] = rank = bisect_right(lowest, height)
        lowest[rank : rank + 1] = [height]
    return ranked


def _peel(distinct: Points) -> NDArray[np.intp]:
    """Rank distinct points by removing one front after the other."""
    beats: NDArray[np.bool_] = np.all(distinct[:, None] <= distinct[None], axis=2)
    np.fill_diagonal(beats, False)
    beaten_by = beats.sum(axis=0)
    ranked = np.full(len(distinct), -1, dtype=np.intp)
    rank = 0
    while (first := (ranked < 0) & (beaten_by == 0)).any():
        ranked[first] = rank
        beaten_by = beaten_by - beats[first].sum(axis=0)
        rank += 1
    return ranked


def crowding(points: Sequence[Sequence[float]] | Points) -> list[float]:
    """Return each point's crowding distance: the sum over objectives of the gap between its two neighbours,

    as a share of the whole range; infinite at both ends.
    """
    array = np.asarray(points, dtype=float)
    distance = np.zeros(len(array))
    for column in array.T:
        order = np.argsort(column, kind="stable")
        with np.errstate(invalid="ignore"):
            span = column[order[-1]] - column[order[0]] if len(order) else 0.0
        if span > 0 and np.isfinite(span):
            distance[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / span
        if len(order):
            distance[order[[0, -1]]] = np.inf
    return distance.tolist()


def fitness(points: Sequence[Sequence[float]]) -> list[tuple[int, float]]:
    """Order points as NSGA-II does: by non-dominated rank, then the less crowded first."""
    fronts: dict[int, list[int]] = defaultdict(list)
    for i, rank in enumerate(ranks(points)):
        fronts[rank].append(i)
    order: list[tuple[int, float]] = [(0, 0.0)] * len(points)
    for rank, members in fronts.items():
        distances = crowding([points[i] for i in members]) if len(members) > 2 else [math.inf] * len(members)
        for i, distance in zip(members, distances, strict=True):
            order[i] = (rank, -distance)
    return order


def hypervolume(points: Sequence[Sequence[float]] | Points, reference: Sequence[float]) -> float:
    """Return the volume between the points' front and a reference point that is worse in every objective.

    Sliced along the last objective, recursively: exact, and meant for a few objectives.
    """
    bound = np.asarray(reference, dtype=float)
    array = np.asarray(points, dtype=float).reshape(-1, len(bound))
    array = array[(array < bound).all(axis=1)]
    if not len(array):
        return 0.0
    array = array[front(array)]
    if array.shape[1] == 1:
        return float(bound[0] - array[:, 0].min())
    array = array[np.argsort(array[:, -1], kind="stable")]
    depths = np.diff(np.append(array[:, -1], bound[-1]))
    slices = (hypervolume(array[: i + 1, :-1], bound[:-1].tolist()) for i in range(len(array)))
    return float(sum(depth * area for depth, area in zip(depths, slices, strict=True) if depth > 0))
