"""What a network of other widths computes. Exact means: in float64, to rounding."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from heirs import IMAGES, SPACE, chosen, difference, heir, images, modules, parent, vision
from tiny_space import TINY, architecture
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList

from nas.training.inherit import inherit
from nas.training.inheritance.axes import arranged
from search_spaces.registry import entries
from search_spaces.sparsity.masking import live_parameters

EXACT = 1e-11
UNEVEN = {"evonorm_s0", "polynorm", "topk", "matrix_relu", "product_gate"}


def wider(**parts: Any) -> float:
    """Return how far a child of wider stem and stages is from its parent."""
    return difference(*heir(vision(8, (16, 24), **parts), vision(16, (24, 40), **parts)))


@pytest.mark.parametrize("name", entries("layer"))
def test_wider_is_exact_for_every_layer(name: str) -> None:
    assert wider(layer=chosen("layer", name)) < EXACT


@pytest.mark.parametrize("name", [name for name in entries("activation") if name not in UNEVEN])
def test_wider_is_exact_for_activations(name: str) -> None:
    assert wider(activation=chosen("activation", name)) < EXACT


@pytest.mark.parametrize("name", ["polynorm", "evonorm_s0", {"topk": {"share": 0.25}}, {"product_gate": {"size": 2}}])
def test_twice_as_wide_is_exact_for_what_looks_at_all_channels_or_at_groups(name: Any) -> None:
    assert difference(*heir(vision(24, (8,), activation=name), vision(24, (16,), activation=name))) < EXACT


def test_a_tridiagonal_matrix_changes_as_its_neighbours_do() -> None:
    name = {"matrix_relu": {"bands": "tridiagonal"}}
    network = parent(before := vision(8, (16,), activation=name))
    assert difference(*heir(before, vision(8, (32,), activation=name), network)) < EXACT
    assert EXACT < difference(*heir(before, vision(8, (24,), activation=name), network)) < 0.01


@pytest.mark.parametrize("name", ["batch", "none"])
def test_wider_is_exact_for_norms_of_single_channels(name: str) -> None:
    assert wider(norm=name, stem_norm=name) < EXACT


@pytest.mark.parametrize("name", ["group", "layer"])
def test_twice_as_wide_is_exact_for_norms_of_groups_and_near_otherwise(name: str) -> None:
    before = vision(8, (16,), norm=name, stem_norm=name)
    network = parent(before)
    twice, uneven = (vision(stem, (width,), norm=name, stem_norm=name) for stem, width in ((16, 32), (16, 40)))
    assert difference(*heir(before, twice, network)) < EXACT
    assert EXACT < difference(*heir(before, uneven, network)) < 1.0


@pytest.mark.parametrize("name", entries("wiring"))
def test_wider_is_exact_for_every_wiring(name: str) -> None:
    assert wider(wiring=name, depths=(2,)) < EXACT


@pytest.mark.parametrize("head", entries("head"))
@pytest.mark.parametrize("pool", entries("pool"))
def test_wider_is_exact_for_pools_and_heads(pool: str, head: str) -> None:
    """The last stage is twice as wide, for grassmann_head sees the direction of all features."""
    parts: dict[str, Any] = {"pool": chosen("pool", pool, 1), "head": chosen("head", head)}
    assert difference(*heir(vision(8, (16, 24), **parts), vision(16, (40, 48), **parts))) < EXACT


@pytest.mark.parametrize("name", entries("stem"))
def test_wider_is_exact_for_every_stem(name: str) -> None:
    assert wider(stem_layer=chosen("stem", name)) < EXACT


@pytest.mark.parametrize("name", ["n_m", {"random": {"density": 0.3}}])
def test_wider_is_exact_under_masks_which_keep_their_density(name: Any) -> None:
    network, child = heir(vision(8, (16, 24), sparsity=name), vision(16, (24, 48), sparsity=name))
    assert difference(network, child) < EXACT
    assert live_parameters(child) == live_parameters(SPACE.build(vision(16, (24, 48), sparsity=name), IMAGES))


def test_a_mask_of_2_to_4_leaves_at_most_2() -> None:
    _, child = heir(vision(8, (16,), sparsity="n_m"), vision(8, (24,), sparsity="n_m"))
    masked = [c for c in modules(child, nn.Conv2d) if any(True for _ in modules(c, ParametrizationList))]
    assert len(masked) == 2
    for layer in masked:
        groups = layer.weight.movedim(1, -1).unflatten(-1, (-1, 4))
        assert ((groups != 0).sum(-1) <= 2).all()


def test_the_tiny_space_gets_wider() -> None:
    before, after = architecture(width=4), architecture(width=10)
    torch.manual_seed(0)
    network = TINY.build(before, IMAGES).double().eval()
    child = inherit(TINY, IMAGES, before, network.state_dict(), after, 0).eval()
    assert torch.allclose(network(images()), child(images()), atol=1e-12)
    assert isinstance(child, nn.Sequential) and child[0].weight.shape[0] == 10


def test_copies_get_gradients_of_their_own() -> None:
    """Net2Net's copies with equal shares would get equal gradients and stay equal for ever."""
    _, child = heir(vision(24, (8,)), vision(24, (16,)))
    child.train()(images()).square().sum().backward()
    stage: Any = child.get_submodule("stages.0")
    index = [(stage.entry[0].weight[:8] - row).abs().sum((1, 2, 3)).argmin() for row in stage.entry[0].weight]
    body: Any = stage.block0.body[0].weight
    for copy in range(8, 16):
        assert torch.equal(stage.entry[1].weight[copy], stage.entry[1].weight[index[copy]])
        slopes = stage.entry[1].weight.grad
        assert not torch.isclose(slopes[copy], slopes[index[copy]], rtol=1e-3)
    assert body.grad.abs().sum() > 0


def test_narrower_is_what_is_left_when_channels_are_taken_out() -> None:
    """Without norm and with an identity as activation a linear network keeps what its remaining channels add up to."""
    parts: dict[str, Any] = {"norm": "none", "stem_norm": "none", "layer": "linear", "wiring": "plain"}
    before, after = vision(8, (24,), **parts), vision(8, (16,), **parts)
    network = parent(before)
    entry: Any = network.get_submodule("stages.0.entry.0")
    layer: Any = network.get_submodule("stages.0.block0.0")
    with torch.no_grad():
        # Channels 0 to 7 of the stage matter to nothing, so that nothing is lost by them.
        layer.weight[:, :8] = 0
        head: Any = network.get_submodule("head.layer")
        head.weight.view(10, 24, 4)[:, :8] = 0
        entry.weight[:8] *= 100
    assert difference(*heir(before, after, network)) < EXACT


def test_the_mean_of_what_is_gone_goes_to_the_bias() -> None:
    """A channel that is constant, as its scale is 0, can go without a trace, but for the border of the maps."""
    parts: dict[str, Any] = {"layer": "linear", "wiring": "plain"}
    before, after = vision(8, (24,), **parts), vision(8, (16,), **parts)
    network = parent(before)
    norm: Any = network.get_submodule("stages.0.entry.1")
    last: Any = network.get_submodule("stages.0.block0.1")
    with torch.no_grad():
        for each in (norm, last):
            each.weight[5:13] = 0
            each.bias[5:13] = torch.linspace(0.5, 1, 8)
    assert difference(*heir(before, after, network)) < EXACT


def test_running_variances_shrink_by_what_is_gone() -> None:
    """By hand: the eight channels that go have a quarter of the variance, and all weights have one size."""
    before, after = vision(32, (16,)), vision(24, (16,))
    network = parent(before)
    stem, convolution, norm = (
        network.get_submodule(name) for name in ("stem.1", "stages.0.entry.0", "stages.0.entry.1")
    )
    scale, weight, running = (
        stem.get_parameter("weight"),
        convolution.get_parameter("weight"),
        norm.get_buffer("running_var"),
    )
    with torch.no_grad():
        scale.fill_(1.0)[8:16] = 0.5
        weight.copy_(weight.sign())
    _, child = heir(before, after, network)
    assert torch.allclose(child.get_buffer("stages.0.entry.1.running_var"), running * 24 / 26)


def test_a_width_in_groups_is_arranged_group_by_group() -> None:
    weight = torch.tensor([1.0, 5.0, 4.0, 3.0, 9.0, 0.0, 2.0, 8.0])
    assert arranged(weight, 3).tolist() == [1, 4, 7]
    assert arranged(weight, 6, parts=[2]).tolist() == [1, 2, 3, 4, 6, 7]
    assert arranged(weight, 4, parts=[4]).tolist() == [1, 2, 4, 7]
    assert arranged(weight, 4, units=[2]).tolist() == [4, 5, 6, 7]
    assert arranged(weight, 4, parts=[2], units=[2]).tolist() == [2, 3, 6, 7]
    assert arranged(weight, 12).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 1, 2, 4, 7]
    assert arranged(weight, 12, parts=[4]).tolist() == [0, 1, 1, 2, 3, 2, 4, 5, 4, 6, 7, 7]
    assert arranged(weight, 12, units=[2]).tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 4, 5, 6, 7]
    assert arranged(weight, 12, parts=[3], units=[5]).tolist() == arranged(weight, 12).tolist()
