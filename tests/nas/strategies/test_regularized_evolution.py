"""Regularized evolution worked by hand: tournaments, aging, who is let in, and the mutation rate."""

from __future__ import annotations

import statistics
from random import Random
from typing import Any

import pytest

from nas.strategies import Proposal, Strategy, make_strategy
from nas.strategies.breeding import Member, beats
from nas.strategies.evolution import Aging
from search_spaces.decisions import Choice, Integer, Real, Struct, canonical
from search_spaces.space import Space

SPACE = Space(
    "twenty",
    "for tests",
    Struct(**{f"x{i}": Choice(*range(10)) for i in range(20)}),
    make=lambda architecture, signature: pytest.fail("nothing is built here"),
)
MIXED = Space(
    "mixed",
    "a valley under one option",
    Struct(
        kind=Choice("a", "b", c=Struct(x=Real(0, 1), y=Real(1e-3, 1, log=True), n=Integer(1, 64, log=True))),
        ops=Struct(**{f"o{i}": Choice("p", "q", "r", "s") for i in range(4)}),
    ),
    make=SPACE.make,
)


def evolution(space: Space = SPACE, seed: int = 0, objectives: int = 1, **options: Any) -> Strategy:
    return make_strategy("regularized_evolution", space, objectives, seed, options)


def ask(strategy: Strategy, turn: int) -> Proposal:
    proposal = strategy.ask(turn)
    assert proposal is not None
    return proposal


def picks(population: Aging, count: int = 30) -> set[int]:
    return {population.pick(Random(seed)).turn for seed in range(count)}


def test_the_oldest_dies_however_good_it_is() -> None:
    population = Aging(3, sample=3)
    for turn, loss in enumerate([5.0, 1.0, 3.0]):
        population.add(Member(turn, {}, (loss,)))
    assert picks(population) == {1}
    population.add(Member(3, {}, (4.0,)))  # 5, the worst and the oldest, dies
    assert picks(population) == {1} and len(population) == 3
    population.add(Member(4, {}, (9.0,)))  # 1, the best, is the oldest now
    assert picks(population) == {2}


def test_a_parent_is_the_best_of_a_sample() -> None:
    population = Aging(10, sample=2)
    for turn in range(10):
        population.add(Member(turn, {}, (float(turn),)))
    counts = [sum(population.pick(Random(seed)).turn == turn for seed in range(3000)) for turn in range(10)]
    # Of 45 pairs the best wins 9, the second 8, ..., the last none.
    assert counts == pytest.approx([3000 * wins / 45 for wins in range(9, -1, -1)], abs=100) and counts[9] == 0


def test_with_several_objectives_rank_and_then_crowding_decide() -> None:
    population = Aging(6, sample=6)
    for turn, losses in enumerate([(0.0, 9.0), (1.0, 4.0), (2.0, 3.0), (9.0, 0.0), (2.0, 4.0), (9.0, 9.0)]):
        population.add(Member(turn, {}, losses))
    assert picks(population) == {0, 3}  # the ends of the front
    population.add(Member(6, {}, (-1.0, -1.0)))
    assert picks(population) == {6}


def test_a_child_differs_from_its_parent_in_one_decision_at_first() -> None:
    strategy = evolution(population=2, sample=2, start=2)
    for turn in range(2):
        first = ask(strategy, turn)
        assert first.parents == () and first.note == {}
        strategy.tell(turn, [float(turn)])
    child = ask(strategy, 2)
    assert child.parents == (0,) and child.note == {"parents": [0]}
    assert len(SPACE.diff(ask(evolution(start=2), 0).architecture, child.architecture)) == 1
    strategy.tell(2, [7.0])  # the parent was the oldest
    assert ask(strategy, 3).parents == (1,)


def test_what_is_infeasible_or_failed_is_never_a_parent() -> None:
    strategy = evolution(start=5)
    for turn in range(6):
        ask(strategy, turn)
    for turn in range(6):
        strategy.tell(turn, [1.0] if turn == 4 else None, feasible=turn % 2 == 0)
    # Turns 1, 3 and 5 are infeasible and 4 is judged: with one more the drawing ends.
    assert ask(strategy, 6).parents == ()
    strategy.tell(6, [9.0])
    assert {ask(strategy, turn).parents for turn in range(7, 30)} == {(4,)}


def test_an_infinite_loss_is_let_in_and_beaten_by_any_other() -> None:
    strategy = evolution(start=2)
    for turn, loss in ((0, float("inf")), (1, 5.0)):
        ask(strategy, turn)
        strategy.tell(turn, [loss])
    assert {ask(strategy, turn).parents for turn in range(2, 20)} == {(1,)}


def test_a_replayed_duplicate_is_no_new_member() -> None:
    strategy = evolution(population=2, sample=2, start=2)
    architectures = [ask(strategy, turn).architecture for turn in range(2)]
    strategy.tell(0, [1.0])
    strategy.tell(1, [0.0])
    for turn in range(2, 6):
        strategy.remember(Proposal(turn, architectures[0]))
        strategy.tell(turn, [1.0])
    assert {ask(strategy, turn).parents for turn in range(6, 20)} == {(1,)}


def test_no_child_is_one_that_was_judged_or_is_under_way() -> None:
    space = Space("small", "256 architectures", Struct(**{f"x{i}": Choice(*range(4)) for i in range(4)}), SPACE.make)
    strategy, seen = evolution(space, population=5, start=5), set()
    for turn in range(120):
        architecture = ask(strategy, turn).architecture
        seen.add(canonical(architecture))
        if turn >= 4:
            strategy.tell(turn - 4, [float(sum(architecture.values()))])
    assert len(seen) == 120


def changes(better: bool, turns: int = 60, **options: Any) -> list[int]:
    """How many decisions each child differs in from its parent, when every child is better or worse than all before."""
    strategy = evolution(start=1, **options)
    proposals: list[Proposal] = []
    counts = []
    for turn in range(turns):
        proposals.append(ask(strategy, turn))
        for parent in proposals[-1].parents:
            counts.append(len(SPACE.diff(proposals[parent].architecture, proposals[-1].architecture)))
        strategy.tell(turn, [float(-turn if better else turn)])
    return counts


def test_mutations_grow_while_children_succeed_and_shrink_while_they_fail() -> None:
    grown = changes(better=True)
    # After 6 successes the rate is 1.5^6 = 11.4, and 10 is half of the decisions.
    assert grown[0] == 1 and set(grown[6:]) == {10}
    assert set(changes(better=False)) == {1}
    shrunk = changes(better=False, mutations=8.0)
    assert shrunk[0] == 8 and statistics.mean(shrunk[30:]) == 1
    assert statistics.mean(changes(better=False, mutations=3.0, adaptive=False)) == 3


def test_a_rebuilt_strategy_has_the_same_mutation_rate() -> None:
    strategy, other = evolution(start=1), evolution(start=1)
    for turn in range(8):
        proposal = ask(strategy, turn)
        other.remember(Proposal(turn, proposal.architecture, proposal.note))
        for each in (strategy, other):
            each.tell(turn, [float(-turn)])
    assert ask(strategy, 8) == ask(other, 8)


def test_a_crossed_child_has_two_parents() -> None:
    strategy = evolution(start=4, crossover=1.0, sample=1)
    parents = [ask(strategy, turn).architecture for turn in range(4)]
    for turn in range(4):
        strategy.tell(turn, [0.0])
    for turn in range(4, 12):
        child = ask(strategy, turn)
        first, second = (parents[each] for each in child.parents)
        new = [name for name, value in child.architecture.items() if value not in (first[name], second[name])]
        assert len(new) <= 1


@pytest.mark.parametrize(
    ("losses", "others", "expected"),
    [
        ((1.0,), (2.0,), True),
        ((2.0,), (2.0,), False),
        ((1.0, 2.0), (1.0, 3.0), True),
        ((1.0, 3.0), (2.0, 2.0), False),
        ((float("inf"),), (float("inf"),), False),
    ],
)
def test_to_beat_is_to_be_nowhere_worse_and_somewhere_better(losses: Any, others: Any, expected: bool) -> None:
    assert beats(losses, others) is expected


def valley(architecture: Any) -> float:
    """The least loss, 0, needs one option, three numbers and four others right."""
    kind = architecture["kind"]
    missed = sum(architecture["ops"][f"o{i}"] != "pqrs"[i] for i in range(4)) / 4
    if not isinstance(kind, dict):
        return 2 + missed
    inner = kind["c"]
    return missed + abs(inner["x"] - 0.7) + abs(inner["y"] - 0.01) + abs(inner["n"] - 20) / 63


def best(name: str, seed: int, asks: int = 150) -> float:
    strategy, losses = make_strategy(name, MIXED, 1, seed), []
    for turn in range(asks):
        losses.append(valley(ask(strategy, turn).architecture))
        strategy.tell(turn, losses[-1:])
    return min(losses)


@pytest.mark.parametrize("name", ["regularized_evolution", "pareto_evolution"])
def test_it_beats_random_search(name: str) -> None:
    found, drawn = ([best(each, seed) for seed in range(20)] for each in (name, "random"))
    assert statistics.mean(found) < 0.5 * statistics.mean(drawn)
    assert sum(a < b for a, b in zip(found, drawn, strict=True)) >= 18
