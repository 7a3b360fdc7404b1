"""Rows of architectures: worked by hand, and distances that say what they should."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest

from nas.strategies.encoding import Encoding
from search_spaces.decisions import Choice, Integer, Real, Repeat, Struct
from search_spaces.space import find_space

HALF = math.sqrt(0.5)
MIXED = Struct(
    kind=Choice("plain", None, tuned=Struct(rate=Real(1e-4, 1, log=True))),
    depth=Integer(2, 10, step=4),
    fixed=Integer(3, 3),
)


def test_a_row_by_hand() -> None:
    encoding = Encoding(MIXED)
    assert encoding.width == 3 + 2 + 1
    tuned = encoding.row({"kind": "tuned", "kind:tuned.rate": 1e-3, "depth": 6})
    np.testing.assert_allclose(tuned, [0, 0, HALF, 0.25, HALF, 0.5])
    np.testing.assert_allclose(encoding.row({"kind": None, "depth": 2}), [0, HALF, 0, 0.5, 0, 0])


def test_places_of_one_kind_have_columns_in_common() -> None:
    tree = Struct(
        edge_0_1=Choice("a", "b"), edge_0_2=Choice("a", "b"), edge_1_2=Choice("a", "b"), edge_x=Choice("a", "b")
    )
    row = Encoding(tree).row({"edge_0_1": "a", "edge_0_2": "b", "edge_1_2": "a", "edge_x": "b"})
    common = [2 * HALF / math.sqrt(3), HALF / math.sqrt(3)]
    np.testing.assert_allclose(row, [*common, HALF, 0, 0, HALF, HALF, 0, 0, HALF])


def test_numbers_of_one_kind_are_summed_where_they_are_active() -> None:
    tree = Struct(stages=Repeat(Struct(width=Integer(0, 10)), 1, 4))
    row = Encoding(tree).row({"stages#": 2, "stages[0].width": 10, "stages[1].width": 5})
    assert sorted(row) == pytest.approx(sorted([1 / 3, 1.5 / 2, 1, HALF, 0.5, HALF, 0.5, 0, 0.5, 0]))


def test_another_option_is_as_far_as_the_ends_of_a_number() -> None:
    encoding = Encoding(MIXED)
    rows = [encoding.row({"kind": kind, "depth": depth}) for kind, depth in (("plain", 2), (None, 2), ("plain", 10))]
    assert np.linalg.norm(rows[0] - rows[1]) == pytest.approx(1)
    assert np.linalg.norm(rows[0] - rows[2]) == pytest.approx(1)


def test_different_architectures_have_different_rows() -> None:
    space = find_space("kan_vision")
    encoding = Encoding(space.tree)
    traces = [space.trace(space.draw(Random(i))) for i in range(50)]
    traces += [space.mutate(traces[0], Random(i))[1] for i in range(50)]
    rows = {tuple(encoding.row(trace)): tuple(trace.items()) for trace in traces}
    assert len(rows) == len({tuple(trace.items()) for trace in traces}) > 80
    assert all(0 <= value <= 2 for row in rows for value in row)
