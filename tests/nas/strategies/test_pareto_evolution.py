"""Pareto evolution: survival by rank and crowding worked by hand, and fronts that come near the true one."""

from __future__ import annotations

import statistics
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas import pareto
from nas.strategies import make_strategy
from nas.strategies.breeding import Member
from nas.strategies.pareto_evolution import Elite
from search_spaces.decisions import Choice, Struct
from search_spaces.space import Space

FRONT = [(0.0, 10.0), (1.0, 5.0), (2.0, 4.0), (10.0, 0.0)]


def elite(points: list[Any], size: int = 4, tournament: int = 1) -> Elite:
    population = Elite(size, tournament)
    for turn, losses in enumerate(points):
        population.add(Member(turn, {}, losses))
    return population


def alive(population: Elite) -> set[tuple[float, ...]]:
    """Everyone that random picks meet."""
    return {population.pick(Random(seed)).losses for seed in range(200)}


def test_the_last_front_dies_first() -> None:
    assert alive(elite([*FRONT, (5.0, 5.0)])) == set(FRONT)  # beaten by (1, 5) and (2, 4)
    # (0, 0) beats all: two fronts, and of the second the most crowded dies. Its gaps as shares of the ranges of 10:
    # (1, 5): 2/10 + 6/10 and (2, 4): 9/10 + 5/10.
    assert alive(elite([*FRONT, (0.0, 0.0)])) == {(0.0, 0.0), (0.0, 10.0), (2.0, 4.0), (10.0, 0.0)}


def test_of_one_front_the_most_crowded_dies() -> None:
    # In order of the first objective: (1, 5) has the gaps 2/10 + 6/10, (2, 4) has 2/10 + 1.5/10, and (3, 3.5) has
    # 8/10 + 4/10.
    assert alive(elite([*FRONT, (3.0, 3.5)])) == {(0.0, 10.0), (1.0, 5.0), (3.0, 3.5), (10.0, 0.0)}


def test_with_one_objective_the_worst_dies() -> None:
    assert alive(elite([(3.0,), (5.0,), (1.0,), (4.0,), (2.0,)], size=3)) == {(1.0,), (2.0,), (3.0,)}
    assert alive(elite([(float("inf"),), (5.0,), (float("inf"),)], size=2)) >= {(5.0,)}


def test_a_parent_wins_its_tournament_by_rank_and_then_by_crowding() -> None:
    points = [*FRONT, (5.0, 5.0)]
    assert alive(elite(points, size=5, tournament=5)) == {(0.0, 10.0), (10.0, 0.0)}
    counts = [elite(points, 5, 2).pick(Random(seed)).losses for seed in range(1000)]
    assert counts.count((5.0, 5.0)) == 0  # rank 1, and never alone
    # (1, 5) with the gaps 0.8 beats one of the four others, (2, 4) with 0.9 + 0.5 two: 1/10 and 2/10 of all pairs.
    assert counts.count((1.0, 5.0)) == pytest.approx(100, abs=40)
    assert counts.count((2.0, 4.0)) == pytest.approx(200, abs=50)


SPREAD = st.tuples(st.integers(0, 6), st.integers(0, 6))
SLOPING = st.integers(0, 20).map(lambda x: (x, 20 - x))


@given(st.lists(SPREAD | SLOPING, min_size=1, max_size=30), st.integers(2, 8))
def test_nobody_alive_is_of_a_worse_rank_than_before(points: list[tuple[int, int]], size: int) -> None:
    population = Elite(size, 1)
    kept: list[tuple[float, ...]] = []
    for turn, point in enumerate(points):
        population.add(Member(turn, {}, tuple(map(float, point))))
        rivals = [*kept, tuple(map(float, point))]
        ranks = dict(zip(rivals, pareto.ranks(rivals), strict=True))
        kept = [member.losses for member in population._members]
        assert len(kept) == min(size, turn + 1)
        dead = [each for each in rivals if rivals.count(each) > kept.count(each)]
        assert all(ranks[each] == max(ranks.values()) for each in dead)
        # What is kept in step equals what is computed anew.
        assert population._order == pareto.fitness(kept)


BITS = Space(
    "bits",
    "leading ones against trailing zeros: the front are the strings of ones and then zeros",
    Struct(**{f"b{i:02}": Choice(0, 1) for i in range(12)}),
    make=lambda architecture, signature: pytest.fail("nothing is built here"),
)


def lotz(architecture: dict[str, int]) -> list[float]:
    bits = [architecture[name] for name in sorted(architecture)]
    ones = next((i for i, bit in enumerate(bits) if not bit), len(bits))
    zeros = next((i for i, bit in enumerate(reversed(bits)) if bit), len(bits))
    return [-float(ones), -float(zeros)]


def found(name: str, seed: int, asks: int = 250) -> float:
    strategy, points = make_strategy(name, BITS, 2, seed), []
    for turn in range(asks):
        proposal = strategy.ask(turn)
        assert proposal is not None
        points.append(lotz(proposal.architecture))
        strategy.tell(turn, points[-1])
    return pareto.hypervolume(points, [0.0, 0.0])


@pytest.mark.parametrize("name", ["pareto_evolution", "regularized_evolution"])
def test_its_front_is_nearer_to_the_true_one_than_that_of_random_search(name: str) -> None:
    # The true front dominates 66 cells: for i ones i more zeros are lost, 11 + 10 + ... + 1.
    ours, drawn = ([found(each, seed) for seed in range(10)] for each in (name, "random"))
    assert statistics.mean(ours) > 1.3 * statistics.mean(drawn) and max(ours) <= 66
    assert min(ours) > statistics.mean(drawn)
