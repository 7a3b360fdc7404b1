"""Relaxed networks: with weights of exactly one 1 and else 0 they are the network of that option."""

from copy import deepcopy
from dataclasses import dataclass
from random import Random
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Integer, Repeat, Struct, drawing, mixable, replaying
from search_spaces.layers.kan import KanConv2d
from search_spaces.mixtures.answers import MIXTURE, Mixed, Mixture, written
from search_spaces.mixtures.components import Blend, BlendedWiring
from search_spaces.mixtures.relaxation import discretise, relax
from search_spaces.mixtures.sizes import Gated, Masked, gated, items, largest, lengths, masked
from search_spaces.mixtures.strengths import (
    Strength,
    architecture_parameters,
    entropy,
    network_weights,
    probabilities,
    strengths,
    tie_levels,
    weigh_by,
)
from search_spaces.registry import choice, entries, make
from search_spaces.space import Signature, Space, find_space

SPACE = find_space("kan_vision")
FIXED: dict[str, Any] = {
    "network.stem.layer": "convolution",
    "network.stem.width": 8,
    "network.stem.norm": "batch",
    "network.stages#": 2,
    "network.head.pool": "average",
    "network.head.pool:average.cells": 1,
    "network.head.dropout": 0.0,
    "network.head.layer": "linear",
}
for i in range(4):
    stage = {"depth": 2, "width": 16, "layer": "conv2d", "norm": "batch", "activation": "relu", "wiring": "residual"}
    FIXED |= {f"network.stages[{i}].{name}": value for name, value in stage.items()}
    FIXED[f"network.stages[{i}].sparsity"] = "dense"


@dataclass(frozen=True)
class Images:
    input_shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 10


def relaxed(mixtures: dict[str, Mixture], **fixed: Any) -> Any:
    known = FIXED | {path.replace("__", "."): value for path, value in fixed.items()}
    return relax(SPACE, replaying(known, drawing(Random(0))), mixtures)


def inputs(n: int = 6, shape: tuple[int, ...] = (1, 8, 8)) -> Tensor:
    return torch.randn(n, *shape, generator=torch.Generator().manual_seed(0))


def perturbed(network: nn.Module) -> nn.Module:
    """Give parameters and averages other values than those they start with, so that nothing is trivial."""
    generator = torch.Generator().manual_seed(1)
    for value in (*network_weights(network), *(b for n, b in network.named_buffers() if "running" in n)):
        value.data += 0.1 * torch.rand(value.shape, generator=generator)
    return network


def choose(network: nn.Module, chosen: dict[str, Any]) -> None:
    for module in network.modules():
        if isinstance(module, Strength):
            alpha = torch.full_like(module.alpha, -1e4)
            alpha[module.options.index(chosen[module.path])] = 0.0
            module.alpha.data.copy_(alpha)


def mix(kind: str, *names: Any) -> Mixed:
    return Mixed("path", tuple(names))


LAYERS = ["conv2d", {"depthwise_separable": {"kernel": 5}}, {"kan_linear": {"basis": "rbf"}}]


@pytest.mark.parametrize("index", range(3))
def test_a_choice_of_one_layer_is_that_layer(index: int) -> None:
    torch.manual_seed(0)
    blend = make("layer", written("path", LAYERS), 4, 6, 1.0)
    alone = make("layer", LAYERS[index], 4, 6, 1.0)
    alone.load_state_dict(blend.options[index].state_dict())
    choose(blend, {"path": blend.strength.options[index]})
    x = inputs(shape=(4, 5, 5))
    torch.testing.assert_close(blend(x), alone(x), rtol=0, atol=0)


def test_a_mixture_is_the_weighted_sum_and_its_weights_are_the_softmax() -> None:
    torch.manual_seed(0)
    blend = make("activation", written("path", ["relu", "tanh"]), 4)
    blend.strength.alpha.data = torch.tensor([0.3, -0.4])
    x = inputs(shape=(4, 5, 5))
    share = 1 / (1 + torch.tensor(-0.7).exp())
    torch.testing.assert_close(blend(x), share * x.relu() + (1 - share) * x.tanh())
    weigh_by(blend, lambda alpha: torch.tensor([2.0, 3.0]))
    torch.testing.assert_close(blend(x), 2 * x.relu() + 3 * x.tanh())


@pytest.mark.parametrize("name", ["plain", "residual", "rezero", "dense"])
def test_a_choice_of_one_wiring_is_that_wiring_around_the_same_body(name: str) -> None:
    torch.manual_seed(0)
    names = list(entries("wiring"))
    body = nn.Conv2d(4, 4, 3, padding=1)
    blend = perturbed(make("wiring", written("path", names), body, 4))
    choose(blend, {"path": name})
    option = blend.get_submodule(f"options.{names.index(name)}")
    alone = make("wiring", name, body, 4)
    alone.load_state_dict(option.state_dict(), strict=False)
    x = inputs(shape=(4, 5, 5))
    torch.testing.assert_close(blend(x), alone(x))


def test_a_mixed_wiring_evaluates_its_body_once_and_lists_its_parameters_once() -> None:
    body = nn.Conv2d(4, 4, 3, padding=1)
    calls: list[int] = []
    body.register_forward_hook(lambda *_: calls.append(1))
    blend = make("wiring", written("path", ["plain", "residual", "rezero"]), body, 4)
    blend(inputs(shape=(4, 5, 5)))
    assert len(calls) == 1
    assert sum(p.numel() for p in blend.parameters()) == 4 * 4 * 9 + 4 + 1 + 3
    assert sum(name.endswith("weight") for name in blend.state_dict()) == 1


def test_a_wiring_that_feeds_its_body_something_else_is_refused() -> None:
    blend = BlendedWiring("wiring", Mixed("path", ("plain", "residual")), nn.ReLU(), 4)
    given = blend.given
    blend.options.append(nn.Sequential(nn.Tanh(), given))
    blend.strength.alpha = nn.Parameter(torch.zeros(3))
    with pytest.raises(ValueError, match="anything but its own input cannot be in a mixture"):
        blend(inputs(shape=(4, 5, 5)))


@pytest.mark.parametrize("index", range(2))
def test_a_choice_of_one_basis_is_the_layer_with_that_basis(index: int) -> None:
    torch.manual_seed(0)
    bases = [{"rbf": {"centres": 4}}, {"chebyshev": {"degree": 3}}]
    blend = KanConv2d(3, 5, basis=written("path", bases))
    choose(blend, {"path": ["rbf", "chebyshev"][index]})
    alone = KanConv2d(3, 5, basis=bases[index])
    mixed_basis: Any = blend.basis
    start = 3 + 3 * sum(mixed_basis.counts[:index])
    weight = blend.convolution.weight
    slabs = [weight[:, :3], weight[:, start : start + 3 * mixed_basis.counts[index]]]
    alone.convolution.weight.data = torch.cat(slabs, 1).detach()
    x = inputs(shape=(3, 5, 5))
    torch.testing.assert_close(blend(x), alone(x))


def test_a_path_that_is_built_several_times_has_one_strength() -> None:
    architecture = relaxed({"network.stages[0].activation": MIXTURE, "network.stages[1].width": MIXTURE})
    network = SPACE.build(architecture, Images())
    blends = [m for m in network.modules() if isinstance(m, Blend)]
    masks = [m for m in network.modules() if isinstance(m, Masked)]
    assert len(blends) == 2 and len(masks) == 3
    assert len({id(p) for m in (*blends, *masks) for p in m.strength.parameters()}) == 2
    assert list(strengths(network)) == ["network.stages[0].activation", "network.stages[1].width"]
    assert len(architecture_parameters(network)) == 2


def test_weights_and_strengths_are_all_parameters_and_none_is_both() -> None:
    network = SPACE.build(relaxed({"network.stages[*].layer": Mixture("conv2d", "linear")}), Images())
    parts = [{id(p) for p in part} for part in (architecture_parameters(network), network_weights(network))]
    assert parts[0] | parts[1] == {id(p) for p in network.parameters()}
    assert not parts[0] & parts[1] and [len(parts[0])] == [2]


def test_probabilities_are_the_softmax_and_entropy_is_theirs() -> None:
    network = SPACE.build(relaxed({"network.stages[1].layer": Mixture("conv2d", "linear")}), Images())
    strengths(network)["network.stages[1].layer"].data = torch.tensor([1.0, 3.0]).log()
    found = probabilities(network)
    assert found == {"network.stages[1].layer": {"conv2d": pytest.approx(0.25), "linear": pytest.approx(0.75)}}
    assert entropy(found) == pytest.approx(0.5623351446)  # -(1/4)·ln(1/4) - (3/4)·ln(3/4)


def collapsed(network: nn.Module) -> nn.Module:
    """Replace each blend in a copy of a network by its strongest option, and each gate by the chain of its length."""
    network = deepcopy(network)

    def best(module: Any) -> int:
        return int(module.strength.alpha.argmax())

    def reduce(module: nn.Module) -> nn.Module:
        if isinstance(module, BlendedWiring):
            option, body = module.options[best(module)], reduce(module.body)
            if option is module.given:
                return body
            option.body = body
            return option
        if isinstance(module, Blend):
            return reduce(module.options[best(module)])
        if isinstance(module, Gated):
            n = best(module)
            return nn.Sequential(*map(reduce, module.blocks[: module.lengths[n]]), reduce(module.ends[n]))
        for name, child in module.named_children():
            setattr(module, name, reduce(child))
        return module

    return reduce(network)


CHOSEN = [
    {"depth": 1, "layer": "kan_linear", "activation": "relu", "wiring": "plain", "norm": "layer"},
    {"depth": 3, "layer": "depthwise_separable", "activation": "silu", "wiring": "dense", "norm": "none"},
]


@pytest.mark.parametrize("stages", [1, 2])
@pytest.mark.parametrize("head", ["linear", "grassmann_head"])
def test_with_one_option_each_a_network_is_that_of_the_discrete_architecture(stages: int, head: str) -> None:
    mixtures = {f"network.stages[*].{part}": MIXTURE for part in ("depth", "wiring", "norm")} | {
        "network.stages[*].layer": Mixture("conv2d", "depthwise_separable", "kan_linear"),
        "network.stages[*].activation": Mixture("gelu", "relu", "silu"),
        "network.stages#": Mixture(1, 2),
        "network.head.layer": MIXTURE,
    }
    architecture = relaxed(mixtures)
    torch.manual_seed(0)
    network = perturbed(SPACE.build(architecture, Images())).eval()
    picked = {f"network.stages[{i}].{part}": value for i in range(2) for part, value in CHOSEN[i].items()}
    choose(network, picked | {"network.stages#": stages, "network.head.layer": head})
    discrete = discretise(SPACE, architecture, network)
    assert len(discrete["network"]["stages"]) == stages
    for part, value in CHOSEN[0].items():
        found = discrete["network"]["stages"][0][part]
        assert (next(iter(found)) if isinstance(found, dict) else found) == value
    alone = SPACE.build(discrete, Images()).eval()
    weights = [
        value
        for name, value in collapsed(network).state_dict().items()
        if "alpha" not in name or "strength" not in name
    ]
    own = alone.state_dict()
    assert [w.shape for w in weights] == [v.shape for v in own.values()]
    alone.load_state_dict(dict(zip(own, weights, strict=True)))
    torch.testing.assert_close(network(inputs()), alone(inputs()))


@pytest.mark.parametrize("width", [8, 24])
def test_with_one_width_each_a_network_is_the_narrow_one(width: int) -> None:
    architecture = relaxed({"network.stages[1].width": MIXTURE, "network.stem.width": MIXTURE})
    torch.manual_seed(0)
    network = perturbed(SPACE.build(architecture, Images())).eval()
    choose(network, {"network.stages[1].width": width, "network.stem.width": 24})
    discrete = discretise(SPACE, architecture, network)
    assert discrete["network"]["stages"][1]["width"] == width
    narrow = SPACE.build(discrete, Images()).eval()
    wide = [value for name, value in network.state_dict().items() if "strength" not in name]
    own = narrow.state_dict()
    sliced = [w[tuple(slice(n) for n in v.shape)] for w, v in zip(wide, own.values(), strict=True)]
    narrow.load_state_dict(dict(zip(own, sliced, strict=True)))
    torch.testing.assert_close(network(inputs()), narrow(inputs()))


def test_masks_add_up_by_hand() -> None:
    module = masked(nn.Identity(), written("w", [1, 2, 4]))
    module.get_parameter("strength.alpha").data = torch.tensor([1.0, 2.0, 5.0]).log()
    multiplier = module(torch.ones(1, 4, 1, 1)).flatten()
    torch.testing.assert_close(multiplier, torch.tensor([8.0, 7.0, 5.0, 5.0]) / 8)


def test_gates_blend_the_output_after_each_possible_length() -> None:
    blocks = [nn.Linear(1, 1, bias=False) for _ in range(3)]
    for block, factor in zip(blocks, (2.0, 3.0, 5.0), strict=True):
        block.weight.data.fill_(factor)
    chain = nn.Sequential(gated(blocks, written("n", [0, 1, 3])))
    chain.get_parameter("gated.strength.alpha").data = torch.tensor([1.0, 1.0, 2.0]).log()
    assert chain(torch.ones(1, 1)).item() == pytest.approx((1 + 2 + 2 * 30) / 4)
    ended = nn.Sequential(gated(blocks, written("n", [1, 2]), ends={1: nn.Flatten(0), 2: nn.Flatten(0)}))
    assert ended(torch.ones(1, 1)).shape == (1,)


def test_decided_sizes_cost_nothing() -> None:
    layer = nn.Linear(1, 1)
    assert masked(layer, 16) is layer
    assert gated([layer], 1, "block{}") == {"block0": layer}
    assert largest(16) == 16 and lengths(2) == (2,) and lengths(["a"]) == (1,) and items(["a"]) == ["a"]


def test_an_ordinary_network_names_its_parts_and_has_none_of_a_mixture() -> None:
    architecture, _ = SPACE.resolve(replaying(FIXED | {"network.stages[1].depth": 1}, drawing(Random(0))))
    network = SPACE.build(architecture, Images())
    stages = network.get_submodule("stages")
    assert [list(dict(stage.named_children())) for stage in stages.children()] == [
        ["entry", "block0", "block1"],
        ["entry", "block0"],
    ]
    assert not any(isinstance(m, Blend | BlendedWiring | Masked | Gated | Strength) for m in network.modules())


def test_names_do_not_shift_where_there_is_no_entry() -> None:
    architecture, _ = SPACE.resolve(replaying(FIXED | {"network.stem.width": 16}, drawing(Random(0))))
    network = SPACE.build(architecture, Images())
    assert [name for name, _ in network.get_submodule("stages.0").named_children()] == ["block0", "block1"]


def test_the_gradient_of_the_strengths_is_that_of_finite_differences() -> None:
    mixtures = {
        "network.stages#": MIXTURE,
        "network.stages[0].depth": MIXTURE,
        "network.stages[0].width": Mixture(8, 16),
        "network.stages[1].wiring": MIXTURE,
        "network.stages[1].layer": Mixture("conv2d", "kan_linear"),
        "network.stages[1].layer:kan_linear.basis": Mixture("rbf", "chebyshev"),
        "network.stages[1].activation": Mixture("tanh", "silu"),
    }
    torch.manual_seed(0)
    fixed = {f"network.stages[{i}].activation": "tanh" for i in (0, 2, 3)} | {"network.stem.norm": "layer"}
    architecture = relax(SPACE, replaying(FIXED | fixed, drawing(Random(0))), mixtures)
    network = SPACE.build(architecture, Images()).double().eval()
    x, y = inputs().double(), torch.arange(6)
    alphas = architecture_parameters(network)
    generator = torch.Generator().manual_seed(2)
    for alpha in alphas:
        alpha.data = torch.randn(alpha.shape, generator=generator, dtype=torch.float64)

    def loss() -> Tensor:
        return functional.cross_entropy(network(x), y)

    gradients = torch.autograd.grad(loss(), alphas)
    assert len(alphas) == len(mixtures)
    for alpha, gradient in zip(alphas, gradients, strict=True):
        for i in range(len(alpha)):
            values = []
            for step in (1e-5, -1e-5):
                alpha.data[i] += step
                values.append(loss().item())
                alpha.data[i] -= step
            assert gradient[i].item() == pytest.approx((values[0] - values[1]) / 2e-5, rel=1e-4, abs=1e-9)


def test_levels_share_their_strengths_where_the_options_are_the_same() -> None:
    network = SPACE.build(
        relaxed({"network.stages[*].layer": Mixture("conv2d", "linear"), "network.stages[1].wiring": MIXTURE}), Images()
    )
    tie_levels(network, lambda path: "all")
    found = strengths(network)
    assert found["network.stages[0].layer"] is found["network.stages[1].layer"]
    assert len(architecture_parameters(network)) == 2


def make_other(architecture: Any, signature: Signature) -> nn.Module:
    width = architecture["width"]
    blocks = [
        nn.Sequential(masked(nn.Linear(largest(width), largest(width)), width), make("activation", act, largest(width)))
        for act in items(architecture["acts"])
    ]
    first = masked(nn.Linear(3, largest(width)), width)
    return nn.Sequential(first, *gated(blocks, architecture["acts"]).values(), nn.Linear(largest(width), 2))


def test_another_space_is_relaxed_by_the_same_means() -> None:
    tree = Struct(
        width=mixable(Integer(2, 6, step=2)), acts=mixable(Repeat(choice("activation", "relu", "tanh"), 0, 2))
    )
    space = Space("other", "", tree, make_other)
    architecture = relax(space, drawing(Random(0)), {"width": MIXTURE, "acts#": MIXTURE, "acts[*]": MIXTURE})
    network = space.build(architecture, Images())
    assert list(strengths(network)) == ["width", "acts#", "acts[0]", "acts[1]"]
    network(torch.randn(5, 3)).sum().backward()
    assert all(alpha.grad is not None and alpha.grad.isfinite().all() for alpha in architecture_parameters(network))
    assert space.trace(discretise(space, architecture, network))["width"] == 2


def test_a_space_that_takes_no_notice_of_a_mixture_is_refused() -> None:
    tree = Struct(act=choice("activation", "relu", "tanh"), width=mixable(Integer(1, 3)))
    space = Space("deaf", "", tree, lambda architecture, signature: make("activation", architecture["act"], 4))
    architecture = relax(space, drawing(Random(0)), {"act": MIXTURE, "width": MIXTURE})
    with pytest.raises(ValueError, match="builds nothing for the mixture at width"):
        space.build(architecture, Images())
