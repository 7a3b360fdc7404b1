"""Mutation by replay: what changes is what was redrawn, and what depends on it."""

from __future__ import annotations

from random import Random

from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.strategies import DataObject, SearchStrategy
from torch import nn

from search_spaces.decisions import Decision, Scalar, Struct, drawing
from search_spaces.space import Space

Trees = SearchStrategy[Struct]


def depends(path: str, on: str) -> bool:
    """Say whether a decision is there only under certain values of another."""
    return path.startswith(f"{on[:-1]}[" if on.endswith("#") else f"{on}:")


@given(st.data(), st.integers(0, 2**32), st.integers(1, 4))
def test_what_changes_was_redrawn_or_depends_on_it(trees: Trees, data: DataObject, seed: int, count: int) -> None:
    space = Space("drawn", "a drawn tree", data.draw(trees), lambda architecture, signature: nn.Identity())
    _, trace = space.resolve(drawing(Random(seed)))
    assume(trace)
    _, child = space.mutate(trace, Random(seed + 1), count)
    changed = [path for path in trace if path in child and child[path] != trace[path]]
    assert 1 <= len(changed) <= count
    if count == 1:
        assert len(changed) == 1
    for path in trace.keys() ^ child.keys():
        assert any(depends(path, on) for on in changed)


@given(st.data(), st.integers(0, 2**32))
def test_another_way_to_redraw_may_be_given(trees: Trees, data: DataObject, seed: int) -> None:
    space = Space("drawn", "a drawn tree", data.draw(trees), lambda architecture, signature: nn.Identity())
    _, trace = space.resolve(drawing(Random(seed)))
    assume(trace)
    asked: list[Scalar] = []

    def same(domain: Decision, value: Scalar, rng: Random) -> Scalar:
        asked.append(value)
        return value

    assert space.mutate(trace, Random(seed), 2, same)[1] == trace
    assert 1 <= len(asked) <= 2 and all(value in trace.values() for value in asked)
