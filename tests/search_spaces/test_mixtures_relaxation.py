"""From strengths back to architectures, and what a mixture is expected to cost."""

import itertools
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from search_spaces.decisions import Choice, Struct, drawing, mixable
from search_spaces.decisions import Repeat as Several
from search_spaces.mixtures.answers import MIXTURE, Mixture, mixed
from search_spaces.mixtures.relaxation import Cap, capped, conditions, discretise, expected, relax, together
from search_spaces.mixtures.strengths import Strength, strengths
from search_spaces.space import Signature, Space

LAYER = mixable(Choice("identity", "conv", kan=Struct(basis=mixable(Choice("rbf", "sine", "none")))))
TREE = Struct(stages=mixable(Several(Struct(layer=LAYER), 1, 3)), act=mixable(Choice("relu", "identity")))


def collect(value: Any) -> list[Strength]:
    """Make a strength of each mixture in an architecture."""
    found = mixed(value)
    inner = [*found.options, *(found.items or [])] if found else value
    parts = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else []
    return ([Strength(found)] if found else []) + [each for part in parts for each in collect(part)]


def make(architecture: Any, signature: Signature) -> nn.Module:
    return nn.ModuleList(collect(architecture))


SPACE = Space("small", "", TREE, make)
ALL = {
    "stages#": MIXTURE,
    "stages[*].layer": MIXTURE,
    "stages[*].layer:kan.basis": MIXTURE,
    "act": MIXTURE,
}


class Task:
    input_shape = (1, 8, 8)
    classes = 2


def network_of(mixtures: dict[str, Mixture], seed: int) -> tuple[Any, nn.Module]:
    architecture = relax(SPACE, drawing(Random(seed)), mixtures)
    network = SPACE.build(architecture, Task())
    generator = torch.Generator().manual_seed(seed)
    for alpha in strengths(network).values():
        alpha.data = torch.randn(alpha.shape, generator=generator, dtype=torch.float64)
    return architecture, network


def put(network: nn.Module, shares: dict[str, list[float]]) -> None:
    for path, share in shares.items():
        strengths(network)[path].data = torch.tensor(share, dtype=torch.float64).log()


@pytest.mark.parametrize("seed", range(20))
def test_a_discrete_architecture_is_valid_and_takes_the_strongest_options(seed: int) -> None:
    architecture, network = network_of(ALL, seed)
    trace = SPACE.trace(discretise(SPACE, architecture, network))
    for path, alpha in strengths(network).items():
        if path in trace:
            domain = {"#": (1, 2, 3), "r": ("identity", "conv", "kan"), "s": ("rbf", "sine", "none")}
            options = ("relu", "identity") if path == "act" else domain[path[-1]]
            assert trace[path] == options[int(alpha.argmax())]


def test_what_is_not_relaxed_is_kept() -> None:
    architecture, network = network_of({"act": MIXTURE}, 3)
    kept = SPACE.trace(architecture)
    trace = SPACE.trace(discretise(SPACE, architecture, network))
    assert {p: v for p, v in trace.items() if p != "act"} == {p: v for p, v in kept.items() if p != "act"}


def test_a_cap_keeps_the_surest_and_gives_the_others_their_best_other_option() -> None:
    architecture, network = network_of({"stages#": Mixture(2, 3), "stages[*].layer": MIXTURE, "act": MIXTURE}, 0)
    shares = {
        "stages#": [0.1, 0.9],
        "stages[0].layer": [0.5, 0.2, 0.3],
        "stages[1].layer": [0.8, 0.15, 0.05],
        "stages[2].layer": [0.6, 0.3, 0.1],
        "act": [0.3, 0.7],
    }
    put(network, shares)

    def decided(cap: Cap | None) -> list[Any]:
        trace = SPACE.trace(discretise(SPACE, architecture, network, cap))
        return [trace[path] for path in shares if path != "stages#"]

    assert capped(network, Cap()) == 4
    assert decided(None) == decided(Cap(most=4)) == ["identity", "identity", "identity", "identity"]
    assert decided(Cap(most=2)) == ["kan", "identity", "conv", "identity"]
    assert decided(Cap(most=0)) == ["kan", "conv", "conv", "relu"]
    assert decided(Cap(("conv",), most=0)) == ["identity"] * 4


def test_a_cap_does_not_count_decisions_that_are_not_reached() -> None:
    _, network = network_of(ALL, 0)
    put(network, {"stages#": [0.8, 0.1, 0.1], "act": [0.9, 0.1]})
    for i in range(3):
        put(network, {f"stages[{i}].layer": [0.2, 0.7, 0.1], f"stages[{i}].layer:kan.basis": [0.1, 0.1, 0.8]})
    put(network, {"stages[2].layer": [0.7, 0.2, 0.1]})
    assert capped(network, Cap(most=0)) == 0
    put(network, {"stages#": [0.1, 0.1, 0.8], "stages[0].layer": [0.1, 0.2, 0.7]})
    assert capped(network, Cap(most=0)) == 2


def test_decisions_that_are_not_reached_take_no_place_under_a_cap() -> None:
    architecture, network = network_of({"stages#": MIXTURE, "stages[*].layer": MIXTURE, "act": MIXTURE}, 0)
    put(network, {"stages#": [0.1, 0.8, 0.1], "act": [0.9, 0.1], "stages[0].layer": [0.6, 0.3, 0.1]})
    put(network, {"stages[1].layer": [0.1, 0.1, 0.8], "stages[2].layer": [0.9, 0.05, 0.05]})
    layers = [stage["layer"] for stage in discretise(SPACE, architecture, network, Cap(most=1))["stages"]]
    assert layers[0] == "identity" and "kan" in layers[1]


def test_a_decision_that_has_nothing_but_capped_options_keeps_one() -> None:
    architecture, network = network_of({"act": MIXTURE}, 0)
    put(network, {"act": [0.3, 0.7]})
    assert discretise(SPACE, architecture, network, Cap(("relu", "identity"), 0))["act"] == "identity"


def test_a_negative_cap_is_refused() -> None:
    with pytest.raises(ValueError, match="but got -1"):
        Cap(most=-1)


COSTS: dict[str, dict[Any, float]] = {
    "stages#": {1: 0.0, 2: 5.0, 3: 7.0},
    "act": {"relu": 1.0, "identity": 0.0},
    **{f"stages[{i}].layer": {"identity": 0.0, "conv": 10.0 + i, "kan": 20.0} for i in range(3)},
    **{f"stages[{i}].layer:kan.basis": {"rbf": 3.0, "sine": 4.0 * i, "none": -2.0} for i in range(3)},
}


def enumerated(network: nn.Module) -> Tensor:
    """Add up probability times cost over all combinations of options, dead decisions free of charge."""
    alphas = strengths(network)
    total = torch.zeros((), dtype=torch.float64)
    for combination in itertools.product(*(range(len(alpha)) for alpha in alphas.values())):
        chance, cost = torch.ones((), dtype=torch.float64), 0.0
        picked = {path: list(COSTS[path])[i] for path, i in zip(alphas, combination, strict=True)}
        for (path, alpha), i in zip(alphas.items(), combination, strict=True):
            chance = chance * alpha.softmax(0)[i]
            stage = int(path[7]) if path.startswith("stages[") else -1
            alive = stage < picked["stages#"]
            if path.endswith("basis"):
                alive = alive and picked[f"stages[{stage}].layer"] == "kan"
            cost += COSTS[path][picked[path]] if alive else 0.0
        total = total + chance * cost
    return total


def test_the_expected_cost_is_the_mean_over_all_architectures() -> None:
    mixtures = ALL | {"stages#": Mixture(1, 2)}
    _, network = network_of(mixtures, 1)
    alphas = strengths(network)
    costs = {(path,): list(COSTS[path].values())[: len(alpha)] for path, alpha in alphas.items()}
    found, reference = expected(network, costs), enumerated(network)
    torch.testing.assert_close(found, reference)
    parameters = list(alphas.values())
    for one, other in zip(
        torch.autograd.grad(found, parameters), torch.autograd.grad(reference, parameters), strict=True
    ):
        torch.testing.assert_close(one, other)


def test_a_cost_of_a_pair_counts_where_both_are_active() -> None:
    _, network = network_of(ALL, 2)
    share = {path: alpha.softmax(0) for path, alpha in strengths(network).items()}
    pair = [[0.0, 1.0], [2.0, 5.0], [3.0, -4.0]]
    found = expected(network, {("stages[1].layer:kan.basis", "act"): pair})
    both = sum(pair[i][j] * share["stages[1].layer:kan.basis"][i] * share["act"][j] for i in range(3) for j in range(2))
    alive = share["stages#"][1:].sum() * share["stages[1].layer"][2]
    torch.testing.assert_close(found, both * alive)


def test_paths_that_are_never_active_together_have_no_option_for_it() -> None:
    options = {"layer": ("kan", "conv"), "n#": (0, 1, 2)}
    assert together(["layer:kan.x", "layer:conv.y"], options) == {"layer": []}
    assert together(["n[0].x", "n[1].x", "layer:kan.x"], options) == {"n#": [2], "layer": ["kan"]}


def test_the_conditions_of_a_path_are_the_relaxed_decisions_above_it() -> None:
    options = {"stages#": (1, 2, 3), "stages[1].layer": ("identity", "conv", "kan"), "act": ("relu", "identity")}
    found = conditions("stages[1].layer:kan.basis", options)
    assert found == {"stages#": [2, 3], "stages[1].layer": ["kan"]}
    assert conditions("act", options) == {}
    for path, option in (
        ("layer:kan", "kan"),
        ("layer:kan2", "kan2"),
        ("layer:kan2.x", "kan2"),
        ("layer:kan[1]", "kan"),
    ):
        assert conditions(path, {"layer": ("kan", "kan2")}) == {"layer": [option]}
    assert conditions("tied[*].x", {"tied#": (0, 1, 2)}) == {"tied#": [1, 2]}
