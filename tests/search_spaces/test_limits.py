"""Parts of a space."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.decisions import Choice, DecisionError, Integer, Real, Repeat, Struct, changeable, every
from search_spaces.limits import limited
from search_spaces.space import Space, find_space

SPACE = Space(
    "whole",
    "",
    Struct(
        rate=changeable(Real(0.1, 10, log=True)),
        blocks=Repeat(
            Struct(
                width=Integer(8, 48, step=8),
                kind=Choice("plain", True, 3, None, deep=Struct(n=Integer(1, 8)), odd=Struct(m=Integer(2, 3))),
            ),
            1,
            3,
        ),
    ),
    make=lambda architecture, signature: pytest.fail("nothing is built here"),
)


def part(*limits: str) -> dict[str, object]:
    return every(limited(SPACE, limits).tree)  # type: ignore[return-value]


def test_a_choice_keeps_the_named_options_with_what_is_in_them() -> None:
    left = part("blocks[*].kind=deep,3,null,true")
    assert left["blocks[1].kind"].options == (True, 3, None, "deep")  # type: ignore[attr-defined]
    assert "blocks[0].kind:deep.n" in left and "blocks[0].kind:odd.m" not in left


def test_what_is_left_with_one_value_is_no_decision() -> None:
    left = part("blocks[*].kind=plain", "blocks#=2", "rate=1", "blocks[*].width=16")
    assert not left and limited(SPACE, ["blocks#=2"]).size() == float("inf")
    only = limited(SPACE, ["blocks[*].kind=plain", "blocks#=2", "rate=1", "blocks[*].width=16"])
    assert only.draw(Random(0)) == {"rate": 1.0, "blocks": [{"width": 16, "kind": "plain"}] * 2}


def test_numbers_keep_a_range_and_all_that_is_said_of_them() -> None:
    left = part("rate=0.5..2", "blocks[*].width=16..40", "blocks#=1..2", "blocks[*].kind:deep.n=2..4")
    assert left["rate"] == changeable(Real(0.5, 2, log=True))
    assert left["blocks[0].width"] == Integer(16, 40, step=8)
    assert left["blocks#"] == Integer(1, 2) and "blocks[2].width" not in left
    assert left["blocks[1].kind:deep.n"] == Integer(2, 4)


@given(st.integers(0, 1000))
def test_an_architecture_of_a_part_is_one_of_the_whole(seed: int) -> None:
    space = find_space("kan_vision")
    texts = ["network.stages[*].layer=conv2d,kan_conv2d", "network.stages[*].layer:kan_conv2d.basis=rbf,fourier"]
    drawn = limited(space, texts).draw(Random(seed))
    trace = space.trace(drawn)
    layers = {value for path, value in trace.items() if path.endswith("].layer")}
    bases = {value for path, value in trace.items() if path.endswith(".basis")}
    assert layers <= {"conv2d", "kan_conv2d"} and bases <= {"rbf", "fourier"}


def test_no_limit_leaves_the_space_itself() -> None:
    assert limited(SPACE, []) is SPACE


@pytest.mark.parametrize(
    ("limit", "message"),
    [
        ("blocks[*].kind", "'blocks[*].kind' does not parse: write it as PATH=VALUE,VALUE or PATH=LOW..HIGH"),
        (
            "blocks[0].width=8",
            "no decision 'blocks[0].width' (items of lists are written [*]): did you mean blocks[*].w",
        ),
        ("zzz=1", "no decision 'zzz' (items of lists are written [*]): `nas spaces NAME` lists its decisions"),
        ("blocks[*].kind=plan", "blocks[*].kind is limited to 'plan', but one of \"plain\", true, 3, null"),
        (
            "blocks[*].width=9",
            "blocks[*].width is limited to '9', but an integer from 8 to 48 in steps of 8 is allowed",
        ),
        ("blocks[*].width=40..8", "blocks[*].width is limited to '40..8', but an integer"),
        ("blocks[*].width=wide", "blocks[*].width is limited to 'wide', but an integer"),
        ("rate=0.01..1", "rate is limited to '0.01..1', but a number from 0.1 to 10 is allowed, as LOW..HIGH"),
        ("blocks#=0..2", "blocks# is limited to '0..2', but an integer from 1 to 3 is allowed"),
    ],
)
def test_a_limit_that_does_not_fit_is_refused(limit: str, message: str) -> None:
    with pytest.raises(DecisionError) as caught:
        limited(SPACE, [limit])
    assert message in str(caught.value)


def test_a_decision_is_limited_once() -> None:
    with pytest.raises(DecisionError, match="rate is limited twice"):
        limited(SPACE, ["rate=1", "rate=2"])
