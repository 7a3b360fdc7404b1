import json
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import nn

from search_spaces.decisions import Choice, DecisionError, Integer, Real, Repeat, Struct, changeable, drawing
from search_spaces.registry import UnknownName
from search_spaces.space import Change, Space, find_space

Trees = SearchStrategy[Struct]
SEEDS = st.integers(0, 2**32)


def space_of(tree: Struct) -> Space:
    return Space("drawn", "a drawn tree", tree, lambda architecture, signature: nn.Identity())


SMALL = space_of(
    Struct(
        stages=Repeat(Struct(layer=Choice("conv", kan=Struct(order=Integer(2, 3))), width=Choice(8, 16)), 1, 3),
        rate=Real(0.0, 1.0),
    )
)


@given(st.data(), SEEDS, st.integers(1, 4))
def test_a_mutation_changes_at_least_one_active_decision_and_is_valid(
    trees: Trees, data: DataObject, seed: int, count: int
) -> None:
    space = space_of(data.draw(trees))
    parent, trace = space.resolve(drawing(Random(seed)))
    assume(trace)
    child, child_trace = space.mutate(trace, Random(seed + 1), count)
    assert space.trace(child) == child_trace
    changed = [path for path in child_trace if path in trace and child_trace[path] != trace[path]]
    assert 1 <= len(changed) <= count
    assert child != parent


@given(st.data(), SEEDS)
def test_a_crossover_is_valid_and_takes_its_decisions_from_its_parents(
    trees: Trees, data: DataObject, seed: int
) -> None:
    space = space_of(data.draw(trees))
    one, other = (space.resolve(drawing(Random(seed + i)))[1] for i in (1, 2))
    child, trace = space.crossover(one, other, Random(seed))
    assert space.trace(child) == trace
    for path, value in trace.items():
        assert path not in one | other or value in [parent[path] for parent in (one, other) if path in parent]


@given(st.data(), SEEDS)
def test_a_crossover_with_itself_changes_nothing(trees: Trees, data: DataObject, seed: int) -> None:
    space = space_of(data.draw(trees))
    architecture, trace = space.resolve(drawing(Random(seed)))
    assert space.crossover(trace, trace, Random(seed)) == (architecture, trace)


def test_a_crossover_mixes() -> None:
    one = SMALL.trace({"stages": [{"layer": "conv", "width": 8}] * 3, "rate": 0.0})
    other = SMALL.trace({"stages": [{"layer": {"kan": {"order": 2}}, "width": 16}] * 3, "rate": 1.0})
    mixed = [SMALL.crossover(one, other, Random(seed))[1] for seed in range(20)]
    assert any(any(child[p] == one[p] for p in one) and any(child[p] != one.get(p) for p in child) for child in mixed)


def test_the_difference_lists_decisions_and_where_one_side_has_none() -> None:
    before = {"stages": [{"layer": {"kan": {"order": 2}}, "width": 8}], "rate": 0.5}
    after = {"stages": [{"layer": "conv", "width": 8}, {"layer": "conv", "width": 16}], "rate": 0.5}
    assert SMALL.diff(before, after) == [
        Change("stages#", 1, 2),
        Change("stages[0].layer", "kan", "conv"),
        Change("stages[0].layer:kan.order", 2, None),
        Change("stages[1].layer", None, "conv"),
        Change("stages[1].width", None, 16),
    ]
    assert SMALL.diff(before, before) == []


def test_a_space_describes_itself_as_json_and_builds_nothing_invalid() -> None:
    described = json.loads(json.dumps(SMALL.describe(), allow_nan=False))
    assert described["tree"]["struct"]["rate"]["real"]["high"] == 1.0
    with pytest.raises(DecisionError, match="rate is 2"):
        SMALL.build({"stages": [{"layer": "conv", "width": 8}], "rate": 2}, None)  # type: ignore[arg-type]


def test_a_space_matches_what_was_described_before_whatever_may_change_in_mid_training() -> None:
    def space(rate: Real, *options: str) -> Space:
        tree = Struct(changeable=Repeat(Choice(*options, z=Struct(rate=rate)), 1, 2))
        return Space("marks", "", tree, SMALL.make)

    plain = space(Real(0.1, 1.0), "x")
    before = json.loads(json.dumps(plain.describe()["tree"]))
    assert plain.matches(before)
    assert space(changeable(Real(0.1, 1.0)), "x").matches(before)
    assert not space(Real(0.1, 2.0), "x").matches(before)
    assert not space(Real(0.1, 1.0), "x", "y").matches(before)
    assert not any(plain.matches(other) for other in (None, {}, {"struct": {}}))


def test_a_space_is_found_by_name_and_a_wrong_name_gets_the_nearest() -> None:
    assert find_space("kan_vision").name == "kan_vision"
    with pytest.raises(UnknownName, match=r"unknown space 'kan_visoin': did you mean kan_vision\?"):
        find_space("kan_visoin")
