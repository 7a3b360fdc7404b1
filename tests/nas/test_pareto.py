"""Fronts, ranks, crowding and hypervolume, against definitions written out, hand-worked cases and Monte Carlo."""

from __future__ import annotations

import math
import time
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import pareto

COORDINATES = st.one_of(st.integers(0, 4).map(float), st.just(math.inf), st.floats(-2, 2))


@st.composite
def clouds(draw: st.DrawFn, coordinates: st.SearchStrategy[float] = COORDINATES) -> list[tuple[float, ...]]:
    """Up to 25 points of one to three objectives, with many ties."""
    point = st.tuples(*[coordinates] * draw(st.integers(1, 3)))
    return draw(st.lists(point, max_size=25))


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)


def peeled(points: list[tuple[float, ...]]) -> list[int]:
    """Ranks by the definition: take the front off, again and again."""
    ranks, left, rank = [0] * len(points), set(range(len(points))), 0
    while left:
        layer = {i for i in left if not any(dominates(points[j], points[i]) for j in left)}
        for i in layer:
            ranks[i] = rank
        left, rank = left - layer, rank + 1
    return ranks


@given(points=clouds())
def test_the_front_is_what_nothing_dominates(points: list[tuple[float, ...]]) -> None:
    expected = [i for i, p in enumerate(points) if not any(dominates(other, p) for other in points)]
    assert pareto.front(points) == expected


@given(points=clouds())
def test_ranks_are_the_layers_of_fronts(points: list[tuple[float, ...]]) -> None:
    assert pareto.ranks(points) == peeled(points)


def test_ranks_of_many_points() -> None:
    rng = Random(1)
    for objectives in (1, 2, 3):
        points = [tuple(float(rng.randint(0, 12)) for _ in range(objectives)) for _ in range(300)]
        assert pareto.ranks(points) == peeled(points)


def test_crowding_worked_by_hand() -> None:
    # First objective: gaps 3/10 and 9/10 of the range 10; second: gaps 6/8 and 7/8 of the range 8.
    points = [(0.0, 8.0), (1.0, 2.0), (3.0, 1.0), (10.0, 0.0)]
    assert pareto.crowding(points) == pytest.approx([math.inf, 3 / 10 + 7 / 8, 9 / 10 + 2 / 8, math.inf])


def test_crowding_of_few_equal_and_infinite_points() -> None:
    assert pareto.crowding([]) == [] and pareto.crowding([(1.0, 2.0)]) == [math.inf]
    assert pareto.crowding([(1.0,), (1.0,), (1.0,)]) == [math.inf, 0.0, math.inf]
    distances = pareto.crowding([(0.0, 3.0), (1.0, 2.0), (2.0, 1.0), (math.inf, 0.0)])
    # An infinite end gives no scale, so only the second objective counts for what lies between.
    assert distances == pytest.approx([math.inf, 2 / 3, 2 / 3, math.inf])


@given(points=clouds(st.floats(-5, 5)))
def test_crowding_by_its_definition(points: list[tuple[float, ...]]) -> None:
    unique = [list(dict.fromkeys(column)) for column in zip(*points, strict=True)]
    if any(len(each) < len(points) for each in unique):
        return  # the neighbours of equal points are a matter of order
    for i, distance in enumerate(pareto.crowding(points)):
        expected = 0.0
        for column in zip(*points, strict=True):
            ordered = sorted(column)
            place = ordered.index(column[i])
            if place in (0, len(ordered) - 1):
                expected = math.inf
            else:
                expected += (ordered[place + 1] - ordered[place - 1]) / (ordered[-1] - ordered[0])
        assert distance == pytest.approx(expected, rel=1e-6)


def test_fitness_orders_by_rank_and_then_by_room() -> None:
    points = [(0.0, 8.0), (1.0, 2.0), (1.5, 1.9), (3.0, 1.0), (10.0, 0.0), (9.0, 9.0)]
    fitness = pareto.fitness(points)
    assert [rank for rank, _ in fitness] == [0, 0, 0, 0, 0, 1]
    assert sorted(range(6), key=fitness.__getitem__) == [0, 4, 3, 1, 2, 5]


@given(points=clouds())
def test_fitness_is_rank_and_crowding_within_the_front(points: list[tuple[float, ...]]) -> None:
    ranks = peeled(points)
    for rank in set(ranks):
        members = [i for i, each in enumerate(ranks) if each == rank]
        distances = pareto.crowding([points[i] for i in members])
        assert [pareto.fitness(points)[i] for i in members] == [(rank, -distance) for distance in distances]


def test_fitness_of_many_points_of_one_objective_is_quick() -> None:
    rng = Random(2)
    points = [(rng.random(),) for _ in range(20_000)]
    begin = time.process_time()
    pareto.fitness(points)
    assert time.process_time() - begin < 2.0  # 0.1 s; a pass over all points for each rank would take a minute


@pytest.mark.parametrize(
    ("points", "reference", "volume"),
    [
        ([(2.0,), (3.0,)], [5.0], 3.0),
        ([(1.0, 3.0), (2.0, 2.0), (3.0, 1.0)], [4.0, 4.0], 6.0),
        ([(1.0, 1.0), (1.0, 1.0), (2.0, 2.0)], [3.0, 3.0], 4.0),
        ([(1.0, 1.0, 2.0), (2.0, 2.0, 1.0)], [3.0, 3.0, 3.0], 4.0 + 1.0),
        ([(0.0, 0.0, 0.0)], [1.0, 2.0, 3.0], 6.0),
        ([(1.0, math.inf), (5.0, 1.0)], [4.0, 4.0], 0.0),
        ([(4.0, 1.0)], [4.0, 4.0], 0.0),
        ([(math.nan, 1.0)], [4.0, 4.0], 0.0),
        ([(-math.inf, 0.0)], [1.0, 1.0], math.inf),
        ([], [1.0, 1.0], 0.0),
    ],
)
def test_hypervolume_worked_by_hand(points: list[tuple[float, ...]], reference: list[float], volume: float) -> None:
    assert pareto.hypervolume(points, reference) == pytest.approx(volume)


def test_hypervolume_against_counting_random_darts() -> None:
    rng = np.random.default_rng(5)
    for objectives in (1, 2, 3, 4):
        points = rng.uniform(0, 1.2, (12, objectives))
        darts = rng.uniform(0, 1, (100_000, objectives))
        hit = np.zeros(len(darts), dtype=bool)
        for point in points:
            hit |= (darts >= point).all(axis=1)
        assert pareto.hypervolume(points, [1.0] * objectives) == pytest.approx(hit.mean(), abs=0.008)


@given(points=clouds(st.integers(0, 6).map(float)))
def test_hypervolume_counts_the_unit_cubes_of_a_grid(points: list[tuple[float, ...]]) -> None:
    if not points:
        return
    cubes = np.indices([6] * len(points[0])).reshape(len(points[0]), -1).T
    covered = sum(any(all(c >= p for c, p in zip(cube, point, strict=True)) for point in points) for cube in cubes)
    assert pareto.hypervolume(points, [6.0] * len(points[0])) == pytest.approx(covered)
