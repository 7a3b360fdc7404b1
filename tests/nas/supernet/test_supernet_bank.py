from __future__ import annotations

from random import Random
from typing import Any

import pytest
import torch
from supernet_space import TASK, TOY, architecture, block
from torch import Tensor, nn
from torch.nn import functional

from nas.supernet.bank import Supernet
from nas.supernet.training import accumulate
from nas.tasks import find_task
from search_spaces.expressions.stability import Unstable
from search_spaces.phases import auxiliary_loss
from search_spaces.space import Space, find_space

VISION = find_space("kan_vision")
INPUTS, TARGETS = (part[:12] for part in TASK.train())


def supernet(space: Space = TOY, **options: Any) -> Supernet:
    return Supernet(space, TASK if space is TOY else find_task("digits"), **options)


def keys(bank: Supernet, drawn: Any) -> dict[str, str]:
    """Return the name in the bank for each name in the network."""
    slices = bank.path(drawn).slices
    names = {id(tensor): key for key, tensor in bank.tensors.items()}
    return {name: names[id(tensor)] for name, (tensor, _, _) in slices.items()}


def vision(*stages: Any, cells: int = 1, sparsity: Any = "dense", stem: int = 8) -> Any:
    drawn = VISION.draw(Random(0))
    stage = {"depth": 1, "width": 8, "layer": "conv2d", "norm": "batch", "activation": "relu", "wiring": "plain"}
    head = {"pool": {"average": {"cells": cells}}, "dropout": 0.0, "layer": "linear"}
    whole = [stage | {"sparsity": sparsity} | dict(each) for each in stages]
    stem_part = {"layer": "convolution", "width": stem, "norm": "batch"}
    return drawn | {"network": {"stem": stem_part, "stages": whole, "head": head}}


@pytest.mark.parametrize("part", range(3))
def test_a_path_gives_bit_for_bit_what_the_extracted_network_gives(part: int) -> None:
    bank, compared = supernet(VISION), 0
    x = bank.task.train()[0][:8]
    for seed in range(10 * part, 10 * part + 10):
        drawn = VISION.draw(Random(seed))
        try:
            bank.path(drawn)
        except Unstable:
            continue
        network = bank.extract(drawn)
        assert not network.training
        for training in (False, True):
            torch.manual_seed(0)
            there = bank.run(drawn, x, training)
            torch.manual_seed(0)
            assert torch.equal(there, network.train(training)(x))
        compared += 1
    assert compared >= 9


def test_a_run_in_training_leaves_no_statistics_behind() -> None:
    bank, drawn = supernet(), architecture()
    before = bank.run(drawn, INPUTS)
    bank.run(drawn, INPUTS, training=True)
    assert torch.equal(bank.run(drawn, INPUTS), before)


def test_a_narrow_convolution_is_the_leading_part_of_the_wide_one() -> None:
    bank = supernet()
    wide, narrow = (bank.parameters(architecture(stem=width, width=width)) for width in (8, 4))
    assert torch.equal(narrow["block0.0.weight"], wide["block0.0.weight"][:4, :4])
    assert torch.equal(narrow["stem.weight"], wide["stem.weight"][:4])
    assert torch.equal(narrow["last.2.weight"], wide["last.2.weight"][:, :4])


def test_a_narrow_kan_layer_is_the_leading_part_of_every_slab() -> None:
    bank, kan = supernet(), block({"kan_linear": {"basis": "chebyshev"}})
    wide, narrow = (bank.parameters(architecture(kan, width=width)) for width in (8, 4))
    full, part = (each["block0.0.convolution.weight"] for each in (wide, narrow))
    functions = full.shape[1] // 8
    assert part.shape == (4, 4 * functions, 1, 1)
    for i in range(functions):
        assert torch.equal(part[:, 4 * i : 4 * i + 4], full[:4, 8 * i : 8 * i + 4])


def test_a_tensor_is_what_the_largest_network_starts_with() -> None:
    bank = supernet(seed=3)
    narrow = bank.parameters(architecture(stem=8, width=4))
    largest = supernet(seed=3).extract(architecture(stem=8, width=8))
    assert torch.equal(narrow["block0.0.weight"], largest.get_parameter("block0.0.weight")[:4, :4])


@pytest.mark.parametrize("wiring", ["residual", "rezero", "dense"])
def test_blocks_share_their_weights_whatever_joins_them(wiring: str) -> None:
    bank = supernet()
    plain = set(keys(bank, architecture(block(), block())).values())
    other = set(keys(bank, architecture(block(wiring=wiring), block(wiring=wiring))).values())
    own = {key for key in other - plain if f'wiring:"{wiring}"' in key}
    assert plain <= other
    assert other - plain == own
    assert len(own) == {"residual": 0, "rezero": 2, "dense": 4}[wiring]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (block("conv2d"), block("linear")),
        (block({"depthwise_separable": {"kernel": 3}}), block({"depthwise_separable": {"kernel": 5}})),
        (block({"kan_linear": {"basis": "rbf"}}), block({"kan_linear": {"basis": "chebyshev"}})),
    ],
)
def test_other_components_and_other_inner_options_have_other_weights(one: Any, other: Any) -> None:
    bank = supernet()
    shared = set(keys(bank, architecture(one)).values()) & set(keys(bank, architecture(other)).values())
    assert {key.split(".")[0] for key in shared} == {"stem", "last", "block0"}
    assert all('norm:"batch"' in key for key in shared if key.startswith("block0"))


def test_masked_and_dense_layers_share_their_weights_and_masks_are_the_same_each_time() -> None:
    bank, masked = supernet(VISION), vision({}, sparsity={"random": {"density": 0.5}})
    assert set(keys(bank, masked).values()) == set(keys(bank, vision({})).values())
    first, second = (bank.extract(masked) for _ in range(2))
    layer: Any = first.get_submodule("stages.0.block0.0")
    assert 0 < float((layer.weight == 0).float().mean()) < 1
    assert all(torch.equal(a, b) for a, b in zip(first.buffers(), second.buffers(), strict=True))


def test_a_tensor_that_a_masked_layer_brings_starts_as_a_dense_one() -> None:
    name = "stages.0.block0.0.parametrizations.weight.original"
    masked = supernet(VISION).parameters(vision({"width": 48}, sparsity={"random": {"density": 0.3}}))[name]
    dense = supernet(VISION).parameters(vision({"width": 48}))["stages.0.block0.0.weight"]
    torch.testing.assert_close(masked, dense)


def test_a_head_on_maps_of_another_size_is_another_head_of_which_widths_share_slices() -> None:
    bank, name = supernet(VISION), "head.layer.weight"
    small, large = vision({}, {}, {}, cells=4), vision({}, cells=4)
    wide = vision({"width": 48}, cells=4)
    assert bank.parameters(small)[name].shape == (10, 8 * 4)
    assert keys(bank, small)[name] != keys(bank, large)[name] == keys(bank, wide)[name]
    assert torch.equal(bank.parameters(large)[name], bank.parameters(wide)[name][:, : 8 * 16])


def test_a_head_after_another_pool_is_another_head_even_where_its_weights_would_fit_in() -> None:
    bank, name = supernet(VISION), "head.layer.weight"
    sizes = [keys(bank, vision({}, cells=cells))[name].rsplit("|", 1)[1] for cells in (4, 2, 1)]
    assert sizes == [f"10x{48 * 16}", f"10x{48 * 4}", "10x48"]


def test_a_parameter_that_the_largest_network_lacks_is_put_together_from_those_a_step_below() -> None:
    bank = supernet()  # with 8 and 8 channels there is no entry between stem and blocks
    widening, narrowing = (bank.parameters(architecture(stem=stem, width=width)) for stem, width in ((4, 8), (8, 4)))
    assert keys(bank, architecture(stem=4, width=8))["entry.weight"] == "entry.weight|8x8x1x1"
    assert torch.equal(widening["entry.weight"][:4], narrowing["entry.weight"][:, :4])
    assert all(part["entry.weight"].ne(0).all() for part in (widening, narrowing))


def test_gradients_flow_into_the_slice_and_nowhere_else() -> None:
    bank, narrow = supernet(), architecture(stem=4, width=4)
    bank.parameters(architecture(block("linear"), block("linear")))
    bank.run(narrow, INPUTS, training=True).sum().backward()  # type: ignore[no-untyped-call]
    used = keys(bank, narrow)
    for key, tensor in bank.tensors.items():
        assert (tensor.grad is not None) == (key in used.values())
    grad = bank.tensors[used["block0.0.weight"]].grad
    assert grad is not None and grad.shape == (8, 8, 3, 3)
    assert bool(grad[:4, :4].ne(0).all()) and not grad[4:].any() and not grad[:, 4:].any()


@pytest.mark.parametrize("layer", [{"mlp_kan_moe": {"experts": 4}}, {"kan_conv2d": {"basis": "favard"}}, "conv2d"])
def test_gradients_are_those_of_the_extracted_network_with_what_its_parts_add_to_the_loss(layer: Any) -> None:
    space = find_space("kan_vision")
    if layer == {"kan_conv2d": {"basis": "favard"}}:
        layer = {"kan_conv2d": {"basis": {"favard": {"degree": 3}}}}
    bank, drawn = supernet(space), vision({"layer": layer, "wiring": "rezero"})
    x, y = (part[:16] for part in bank.task.train())
    accumulate([bank.path(drawn)], x, y)
    network = bank.extract(drawn).train()
    loss, extra = functional.cross_entropy(network(x), y), auxiliary_loss(network)
    (loss if extra is None else loss + extra).backward()  # type: ignore[no-untyped-call]
    for name, (tensor, shape, _) in bank.path(drawn).slices.items():
        grad, own = tensor.grad, network.get_parameter(name).grad
        assert grad is not None and own is not None
        kept = grad[grad.ne(0)] if tuple(grad.shape) != shape else grad.flatten()
        expected = own[own.ne(0)] if tuple(grad.shape) != shape else own.flatten()
        torch.testing.assert_close(kept, expected, rtol=1e-4, atol=1e-6)


def test_a_step_on_one_path_changes_another_only_where_they_share() -> None:
    bank = supernet()
    one, other = architecture(block("conv2d")), architecture(block("linear"), width=4)
    before = {name: value.detach().clone() for name, value in bank.parameters(other).items()}
    used = bank.path(one).tensors()
    accumulate([bank.path(one)], INPUTS, TARGETS)
    torch.optim.SGD(used, lr=0.1).step()
    changed = {name for name, value in bank.parameters(other).items() if not torch.equal(value, before[name])}
    shared = set(keys(bank, one).values())
    assert changed == {name for name, key in keys(bank, other).items() if key in shared}
    assert "block0.0.weight" not in changed and "stem.weight" in changed


def test_training_decisions_make_no_difference() -> None:
    bank, drawn = supernet(), architecture()
    assert bank.path(drawn) is bank.path(drawn | {"training": {"rate": 0.09}})


def test_few_built_networks_are_kept_and_what_they_give_does_not_depend_on_it() -> None:
    drawn = [architecture(block(layer)) for layer in ("conv2d", "linear")]
    kept, forgotten = supernet(), supernet(cached=1)
    for _ in range(2):
        outputs = [[bank.run(each, INPUTS) for each in drawn] for bank in (kept, forgotten)]
        assert all(torch.equal(a, b) for a, b in zip(*outputs, strict=True))
    assert kept.path(drawn[0]) is kept.path(drawn[0])
    before = forgotten.path(drawn[0])
    forgotten.path(drawn[1])
    assert forgotten.path(drawn[0]) is not before


def test_seed_and_order_make_the_bank() -> None:
    def tensors(seed: int) -> list[Tensor]:
        bank = supernet(seed=seed)
        for i in range(5):
            bank.path(TOY.draw(Random(i)))
        return list(bank.tensors.values())

    assert all(torch.equal(a, b) for a, b in zip(tensors(1), tensors(1), strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(tensors(1), tensors(2), strict=True))


def test_one_parameter_of_several_layers_stays_one() -> None:
    bank, activation = supernet(VISION), {"recurrent_rational": {"init": "silu"}}
    drawn = vision({"activation": activation, "depth": 2}, {"activation": activation})
    numerators = [name for name in keys(bank, drawn) if "numerator" in name]
    network: Any = bank.extract(drawn)
    assert len(numerators) == 1
    assert network.stages[0].block0[2] is network.stages[1].block0[2]
    assert torch.equal(bank.run(drawn, bank.task.train()[0][:4]), network(bank.task.train()[0][:4]))


def test_two_bodies_in_one_wiring_keep_weights_of_their_own() -> None:
    from nas.supernet.naming import places

    class Fork(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(2, 2), nn.Linear(2, 2)
            self.made_as = ("wiring", "fork")

    fork = Fork()
    fork.left.handed_in = fork.right.handed_in = True  # type: ignore[assignment]
    assert len({place.base for place in places(nn.Sequential(fork))}) == 4
