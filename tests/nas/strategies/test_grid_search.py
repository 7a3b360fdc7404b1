"""Grid search against lists made by itertools, and on spaces that no list could hold."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.strategies import Proposal, Strategy, make_strategy
from nas.strategies.grid import shuffled
from search_spaces.decisions import Choice, Integer, Real, Repeat, Struct, canonical
from search_spaces.space import Space

SPACE = Space(
    "conditional",
    "options with inner decisions, lists, tied lists, a step, a logarithm",
    Struct(
        kind=Choice("plain", deep=Struct(n=Integer(1, 3), flag=Choice(True, False)), wide=Struct(r=Real(1, 100, True))),
        blocks=Repeat(Choice("a", "b"), 0, 2),
        tied=Repeat(Integer(0, 4, step=2), 1, 2, tied=True),
        fixed=Integer(3, 3),
    ),
    make=lambda architecture, signature: pytest.fail("nothing is built here"),
)
KINDS: list[Any] = ["plain", *({"deep": {"n": n, "flag": flag}} for n in (1, 2, 3) for flag in (True, False))]
KINDS += [{"wide": {"r": r}} for r in (1.0, 10.0, 100.0)]
BLOCKS = [list(letters) for length in (0, 1, 2) for letters in product("ab", repeat=length)]
TIED = [[value] * length for length in (1, 2) for value in (0, 2, 4)]
LISTED = [{"kind": k, "blocks": b, "tied": t, "fixed": 3} for k, b, t in product(KINDS, BLOCKS, TIED)]

BOUNDLESS = Space(
    "boundless", "10^31 architectures", Struct(**{f"x{i}": Integer(0, 9) for i in range(31)}), make=SPACE.make
)


def grid(space: Space = SPACE, seed: int = 0, **options: Any) -> Strategy:
    return make_strategy("grid", space, 1, seed, {"points": 3} | options)


def judged(strategy: Strategy, count: int, first: int = 0) -> list[Any]:
    proposed = []
    for turn in range(first, first + count):
        proposal = strategy.ask(turn)
        assert proposal is not None
        proposed.append(proposal.architecture)
        strategy.tell(turn, [0.0])
    return proposed


def rounded(architecture: Any) -> str:
    """Write an architecture with 12 digits of its real number."""
    kind = architecture["kind"]
    if isinstance(kind, dict) and "wide" in kind:
        kind = {"wide": {"r": float(f"{kind['wide']['r']:.12g}")}}
    return canonical(architecture | {"kind": kind})


def test_lexicographic_order_is_that_of_nested_loops() -> None:
    found = judged(grid(order="lexicographic"), len(LISTED))
    assert list(map(rounded, found)) == list(map(rounded, LISTED))


@pytest.mark.parametrize("seed", [0, 1])
def test_a_shuffled_grid_proposes_everything_once_and_then_begins_again(seed: int) -> None:
    strategy = grid(seed=seed)
    found = [rounded(each) for each in judged(strategy, len(LISTED))]
    assert sorted(found) == sorted(map(rounded, LISTED)) and found != list(map(rounded, LISTED))
    assert [rounded(each) for each in judged(strategy, len(LISTED), len(LISTED))] == found


def test_another_seed_is_another_order() -> None:
    assert judged(grid(seed=1), 20) != judged(grid(seed=2), 20)


def test_one_point_of_a_real_number_is_its_middle() -> None:
    space = Space("two", "", Struct(x=Real(1, 3), y=Real(1, 100, log=True), z=Real(2, 2)), SPACE.make)
    [found] = judged(grid(space, points=1), 1)
    assert found == pytest.approx({"x": 2.0, "y": 10.0, "z": 2.0})


@pytest.mark.parametrize("order", ["shuffled", "lexicographic"])
def test_a_space_of_any_size_is_counted_through_without_a_list(order: str) -> None:
    found = judged(grid(BOUNDLESS, order=order), 50)
    assert len(set(map(canonical, found))) == 50
    if order == "lexicographic":
        assert [each["x30"] + 10 * each["x29"] for each in found] == list(range(50))
        assert all(each[f"x{i}"] == 0 for each in found for i in range(29))
    else:
        assert len({each["x0"] for each in found}) > 5 and len({each["x30"] for each in found}) > 5


def test_workers_at_a_time_share_the_grid() -> None:
    strategy = grid(order="lexicographic")
    for turn in range(5):
        strategy.ask(turn)
    strategy.tell(3, [1.0])
    strategy.tell(1, [1.0])
    assert [rounded(strategy.ask(turn).architecture) for turn in (5, 6)] == list(map(rounded, LISTED[5:7]))  # type: ignore[union-attr]


def test_what_failed_comes_at_the_end_again_and_what_is_infeasible_does_not() -> None:
    strategy = grid(Space("six", "", Struct(x=Integer(0, 5)), SPACE.make), order="lexicographic")
    known: list[int] = []
    for take in range(6):
        for turn in range(4096 * take, 4096 * take + 6):  # as a search does, which asks on for what is new
            x = strategy.ask(turn).architecture["x"]  # type: ignore[union-attr]
            strategy.tell(turn, None if x in (2, 3) else [0.0], feasible=x != 3)
            if x not in known:
                known.append(x)
                break
    assert known == [0, 1, 2, 3, 4, 5]
    assert strategy.ask(4096 * 7).architecture == {"x": 2}  # type: ignore[union-attr]


@given(st.integers(1, 300), st.integers(-5, 2**70))
def test_shuffling_is_a_permutation(size: int, seed: int) -> None:
    assert sorted(shuffled(place, size, seed) for place in range(size)) == list(range(size))


def test_shuffling_moves_every_number_far_on_average() -> None:
    size = 10**30
    moved = [abs(shuffled(place, size, 0) - place) / size for place in range(300)]
    assert 0.4 < sum(moved) / len(moved) < 0.6  # the mean of an even draw, and more than four deviations of 0.017


def test_its_architectures_are_written_as_the_space_writes_them() -> None:
    """100 and 100.0 would be two identities."""
    for architecture in judged(grid(), 100):
        trace = SPACE.trace(architecture)
        assert canonical(SPACE.resolve(lambda path, domain, trace=trace: trace[path])[0]) == canonical(architecture)  # type: ignore[misc]


def test_a_place_is_kept_in_the_note() -> None:
    strategy, other = grid(), grid()
    for turn in range(4):
        proposal = strategy.ask(turn)
        assert proposal is not None
        other.remember(Proposal(turn, proposal.architecture, proposal.note))
    assert strategy.ask(4) == other.ask(4)
