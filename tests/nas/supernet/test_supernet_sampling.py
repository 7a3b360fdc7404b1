from __future__ import annotations

from random import Random

import pytest
from supernet_space import TOY

from nas.supernet.errors import SupernetError
from nas.supernet.sampling import check_fixed, sandwich, single
from search_spaces.decisions import DecisionError, Trace


def test_fixed_decisions_hold_and_wrong_ones_are_refused() -> None:
    fixed: Trace = {"network.blocks[0].layer": "linear", "network.width": 4}
    for seed in range(20):
        for drawn in single(TOY, Random(seed), fixed) + sandwich(TOY, Random(seed), fixed, 1):
            assert drawn["network"]["blocks"][0]["layer"] == "linear" and drawn["network"]["width"] == 4
    with pytest.raises(SupernetError, match=r"blocks\[5\]"):
        check_fixed(TOY, {"network.blocks[5].layer": "linear"})
    with pytest.raises(DecisionError, match="one of"):
        check_fixed(TOY, {"network.blocks[0].layer": "none"})


def test_a_sandwich_is_the_largest_some_between_and_the_smallest_of_one_architecture() -> None:
    sizes = set()
    for seed in range(30):
        largest, *between, smallest = (each["network"] for each in sandwich(TOY, Random(seed), {}, 3))
        assert (largest["stem"], largest["width"], len(largest["blocks"])) == (8, 8, 2)
        assert (smallest["stem"], smallest["width"], len(smallest["blocks"])) == (4, 4, 1)
        assert len(between) == 3
        for part in (*between, smallest):
            assert part["blocks"] == largest["blocks"][: len(part["blocks"])]
            assert (part["pool"], part["head"]) == (largest["pool"], largest["head"])
        sizes |= {(part["stem"], part["width"], len(part["blocks"])) for part in between}
    assert len(sizes) == 8


def test_a_single_path_is_drawn_evenly() -> None:
    layers = [single(TOY, Random(seed), {})[0]["network"]["blocks"][0]["layer"] for seed in range(800)]
    counts = [sum(name in str(layer) for layer in layers) for name in ("conv2d", "depthwise", "kan_linear")]
    assert all(150 < count < 250 for count in counts)
