from __future__ import annotations

import itertools
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor, nn

from nas.differentiable.rc import Costs, cost_table, project, rc_darts, share_levels
from nas.differentiable.settings import SearchError
from search_spaces.decisions import Choice, Integer, Repeat, Struct, drawing, identity, mixable
from search_spaces.mixtures.answers import MIXTURE, Mixture, mixed
from search_spaces.mixtures.relaxation import options_of, relax
from search_spaces.mixtures.strengths import Strength, architecture_parameters, strengths
from search_spaces.space import Signature, Space

torch.set_num_threads(1)
PRICES = [[1.0, 4.0, 9.0], [2.0, 3.0], [0.5, 6.0, 2.0, 8.0]]


def alphas_of(seed: int) -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(seed)
    return [nn.Parameter(torch.randn(len(p), generator=generator, dtype=torch.float64)) for p in PRICES]


def priced(alphas: list[nn.Parameter]) -> Tensor:
    parts = [a.softmax(0) @ torch.tensor(p, dtype=torch.float64) for a, p in zip(alphas, PRICES, strict=True)]
    return torch.stack(parts).sum()


def flat(alphas: list[nn.Parameter]) -> Any:
    return torch.cat([a.detach() for a in alphas]).numpy()


def by_slsqp(start: Any, bound: float) -> Any:
    def cost(x: Any) -> float:
        total, place = 0.0, 0
        for price in PRICES:
            part = np.exp(x[place : place + len(price)])
            total += float(part @ np.array(price) / part.sum())
            place += len(price)
        return total

    constraint = {"type": "ineq", "fun": lambda x: bound - cost(x)}
    found = minimize(lambda x: ((x - start) ** 2).sum(), start, constraints=[constraint], method="SLSQP", tol=1e-12)
    assert found.success
    return found.x


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("cut", [0.3, 1.0, 3.0])
def test_the_projection_is_the_nearest_point_that_slsqp_finds(seed: int, cut: float) -> None:
    alphas = alphas_of(seed)
    start, before = flat(alphas), priced(alphas).item()
    bound = max(before - cut, 4.5)  # the least is 3.5
    wanted = by_slsqp(start, bound)
    project(alphas, lambda: priced(alphas), bound)
    assert priced(alphas).item() <= bound * (1 + 1e-5)
    assert ((flat(alphas) - start) ** 2).sum() <= ((wanted - start) ** 2).sum() * (1 + 1e-3) + 1e-9
    assert flat(alphas) == pytest.approx(wanted, abs=0.02)


@pytest.mark.parametrize("seed", range(4))
def test_the_projection_moves_against_the_gradient_of_the_cost_at_its_end(seed: int) -> None:
    alphas = alphas_of(seed)
    start, bound = flat(alphas), priced(alphas).item() - 1.0
    project(alphas, lambda: priced(alphas), bound)
    moved = torch.from_numpy(flat(alphas) - start)
    slope = torch.cat(torch.autograd.grad(priced(alphas), alphas))
    assert float(torch.nn.functional.cosine_similarity(moved, -slope, 0)) == pytest.approx(1, abs=1e-5)
    assert priced(alphas).item() == pytest.approx(bound, rel=1e-4)


def test_strengths_within_the_bound_stay_bit_for_bit() -> None:
    alphas = alphas_of(0)
    before = flat(alphas)
    project(alphas, lambda: priced(alphas), priced(alphas).item() + 0.1)
    assert (flat(alphas) == before).all()


def test_a_bound_that_cannot_be_reached_is_refused() -> None:
    alphas = alphas_of(0)
    before = flat(alphas)
    with pytest.raises(SearchError, match=r"an expected cost of 3\.4 or less was not reached"):
        project(alphas, lambda: priced(alphas), 3.4)
    assert (flat(alphas) == before).all()


LAYER = mixable(Choice("skip", "conv", kan=Struct(order=mixable(Integer(2, 4)))))
TREE = Struct(stages=mixable(Repeat(Struct(layer=LAYER), 1, 4)), act=mixable(Choice("relu", "tanh")))


def collect(value: Any) -> list[Strength]:
    found = mixed(value)
    inner = [*found.options, *(found.items or [])] if found else value
    parts = inner.values() if isinstance(inner, dict) else inner if isinstance(inner, list) else []
    return ([Strength(found)] if found else []) + [each for part in parts for each in collect(part)]


def make(architecture: Any, signature: Signature) -> nn.Module:
    return nn.ModuleList(collect(architecture))


SPACE = Space("small", "", TREE, make)


class Task:
    input_shape = (1, 8, 8)
    classes = 2


def price(architecture: Any) -> float:
    """A hundred, 1 for tanh, and for each stage 0, 10 or 20 and four per order."""
    total = 100.0 + (architecture["act"] == "tanh")
    for stage in architecture["stages"]:
        layer = stage["layer"]
        total += 20 + 4 * layer["kan"]["order"] if isinstance(layer, dict) else {"skip": 0, "conv": 10}[layer]
    return total


def relaxed(*paths: str) -> Any:
    return relax(
        SPACE, lambda path, domain: 4 if path == "stages#" else domain.options[0], dict.fromkeys(paths, MIXTURE)
    )


def test_a_table_has_what_each_option_adds_to_the_reference() -> None:
    costs = cost_table(SPACE, relaxed("act", "stages[1].layer", "stages[1].layer:kan.order"), price)
    assert costs.base == 100
    assert costs.options == {
        "act": {"relu": 0, "tanh": 1},
        "stages[1].layer": {"skip": 0, "conv": 10, "kan": 32},
        "stages[1].layer:kan.order": {2: -4, 3: 0, 4: 4},
    }
    assert costs.pairs == {}


def test_the_expected_cost_of_costs_that_add_up_is_the_mean_cost() -> None:
    architecture = relaxed("act", "stages[1].layer", "stages[1].layer:kan.order")
    costs = cost_table(SPACE, architecture, price)
    network = SPACE.build(architecture, Task())
    # Even chances: 100 + 1/2 + (0 + 10 + (20 + 4·3))/3, the other three stages skip.
    assert costs.expected(network)().item() == pytest.approx(100 + 0.5 + 42 / 3, rel=1e-6)


def multiplied(architecture: Any) -> float:
    return price(architecture) * (3 if architecture["act"] == "tanh" else 1)


def test_the_expected_cost_of_pairs_that_bear_on_each_other_is_the_mean_over_all_architectures() -> None:
    paths = ("act", "stages#", "stages[0].layer", "stages[1].layer", "stages[1].layer:kan.order")
    architecture = relax(SPACE, lambda path, domain: domain.options[0], dict.fromkeys(paths, MIXTURE))
    costs = cost_table(SPACE, architecture, multiplied)
    network = SPACE.build(architecture, Task())
    generator = torch.Generator().manual_seed(0)
    found = strengths(network)
    for alpha in found.values():
        alpha.data = torch.randn(alpha.shape, generator=generator, dtype=torch.float64)
    trace = SPACE.trace(architecture)
    mean = 0.0
    for picked in itertools.product(*(options_of(SPACE, architecture)[path] for path in found)):
        decided: dict[str, Any] = trace | dict(zip(found, picked, strict=True))
        chance = 1.0
        for (path, alpha), option in zip(found.items(), picked, strict=True):
            chance *= alpha.softmax(0)[options_of(SPACE, architecture)[path].index(option)].item()
        mean += chance * multiplied(SPACE.resolve(lambda path, domain: decided[path])[0])  # noqa: B023
    assert costs.expected(network)().item() == pytest.approx(mean, rel=1e-9)
    assert ("act", "stages[1].layer") in costs.pairs or ("stages[1].layer", "act") in costs.pairs


def test_each_architecture_is_measured_once() -> None:
    seen: list[str] = []

    def counted(architecture: Any) -> float:
        seen.append(identity(architecture))
        return price(architecture)

    cost_table(SPACE, relaxed("act", "stages[0].layer", "stages[1].layer"), counted)
    # The reference, 1 + 2 + 2 single changes, and 1·2 + 1·2 + 2·2 pairs.
    assert len(seen) == len(set(seen)) == 1 + 5 + 8


def test_the_method_keeps_the_bound_after_every_so_many_steps() -> None:
    architecture = relaxed("act", "stages[0].layer", "stages[1].layer", "stages[2].layer")
    costs = cost_table(SPACE, architecture, price)
    network = SPACE.build(architecture, Task())
    method = rc_darts(costs, 115.0, every=3)
    before = costs.expected(network)().item()
    assert before > 130
    for step in range(2):
        method.adjust(network, step)
    assert costs.expected(network)().item() == before
    method.adjust(network, 2)
    assert costs.expected(network)().item() == pytest.approx(115.0, rel=1e-4)


@pytest.mark.parametrize(
    ("levels", "shared"), [(1, [0, 0, 0, 0]), (2, [0, 0, 1, 1]), (4, [0, 1, 2, 3]), (9, [0, 1, 2, 3])]
)
def test_levels_are_runs_of_neighbouring_stages(levels: int, shared: list[int]) -> None:
    network = SPACE.build(relaxed("stages[*].layer", "act"), Task())
    share_levels(network, levels)
    found = [id(strengths(network)[f"stages[{i}].layer"]) for i in range(4)]
    assert [[a == b for a in found] for b in found] == [[a == b for a in shared] for b in shared]
    assert len(architecture_parameters(network)) == len(set(shared)) + 1


def test_the_method_prepares_its_levels() -> None:
    network = SPACE.build(relaxed("stages[*].layer"), Task())
    rc_darts(Costs(0.0, {}), 1.0, levels=2).prepare(network)
    assert len(architecture_parameters(network)) == 2


def test_numbers_below_one_are_refused() -> None:
    with pytest.raises(SearchError, match="every is 0, but 1 or more"):
        rc_darts(Costs(0.0, {}), 1.0, every=0)
    with pytest.raises(SearchError, match="levels is 0, but 1 or more"):
        rc_darts(Costs(0.0, {}), 1.0, levels=0)


def test_a_table_of_sizes_has_the_middle_one_as_reference() -> None:
    architecture = relax(SPACE, drawing(Random(1)), {"stages#": MIXTURE, "stages[*].layer": Mixture("conv", "skip")})
    costs = cost_table(SPACE, architecture, lambda a: price(a) + len(a["stages"]))
    # Three stages that skip.
    assert costs.options["stages#"] == {1: -2, 2: -1, 3: 0, 4: 1}
    assert costs.options["stages[3].layer"] == {"skip": 0, "conv": 10}
