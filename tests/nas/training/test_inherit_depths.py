"""What new blocks and new beginnings of stages compute, and whether they learn."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from heirs import chosen, difference, heir, images, step, vision
from torch import nn

from nas.training.inheritance.depths import can_begin
from nas.training.inheritance.identities import become_identity
from nas.training.inheritance.resting import resting_place
from search_spaces.registry import entries, make

EXACT = 1e-11
NEAR_ZERO = {"shifted_relu", "soft_threshold", "softplus", "expression"}
SCALED = {"evonorm_s0", "evonorm_b0", "polynorm", "cauchy"}
RECTIFIED = ["relu", "helu", "identity", "maxmin", "groupsort", "prelu", "product_gate"]
SMOOTH = ["gelu", "silu", "tanh", "elu", "mish", "hardswish", "softplus", "rational", "crrelu", "gdn"]


def deeper(**parts: Any) -> tuple[nn.Module, nn.Module]:
    """Return a parent and a child with two more blocks in the first stage and one in the second."""
    return heir(vision(16, (16, 24), (1, 1), **parts), vision(16, (16, 24), (3, 2), **parts))


@pytest.mark.parametrize("norm", entries("norm"))
@pytest.mark.parametrize("wiring", ["residual", "rezero", "dense"])
def test_new_blocks_add_nothing(wiring: str, norm: str) -> None:
    assert difference(*deeper(wiring=wiring, norm=norm)) == 0


@pytest.mark.parametrize("name", entries("layer"))
def test_new_blocks_of_every_layer_add_nothing_even_without_a_norm(name: str) -> None:
    assert difference(*deeper(layer=chosen("layer", name), norm="none")) == 0


@pytest.mark.parametrize("name", [name for name in entries("activation") if name not in NEAR_ZERO])
def test_new_blocks_of_activations_add_nothing(name: str) -> None:
    assert difference(*deeper(activation=chosen("activation", name))) < EXACT


@pytest.mark.parametrize(("name", "most"), [("shifted_relu", 1e-4), ("soft_threshold", 1e-4), ("softplus", 0.3)])
def test_new_blocks_add_as_little_as_their_activation_lets_them(name: str, most: float) -> None:
    assert 0 < difference(*deeper(activation=chosen("activation", name))) < most


@pytest.mark.parametrize("wiring", ["residual", "rezero", "dense", "plain"])
@pytest.mark.parametrize("norm", ["batch", "none"])
@pytest.mark.parametrize("activation", ["relu", "shifted_relu", "evonorm_s0", "softplus", "polyrelu"])
def test_new_blocks_are_not_dead(wiring: str, norm: str, activation: str) -> None:
    """All that is new moves within three steps; a bias before a batch norm has no gradient but rounding anywhere."""
    before, after = (
        vision(16, (16,), (depth,), wiring=wiring, norm=norm, activation=chosen("activation", activation))
        for depth in (1, 2)
    )
    _, child = heir(before, after)
    new = {name: value.clone() for name, value in child.named_parameters() if name.startswith("stages.0.block1.")}
    step(child, 3)
    for name, value in new.items():
        if not (norm == "batch" and name.endswith("0.bias")):
            assert not torch.equal(child.get_parameter(name), value), name


@pytest.mark.parametrize("activation", RECTIFIED)
@pytest.mark.parametrize("layer", ["conv2d", "linear", "depthwise_separable"])
def test_plain_blocks_hand_on_what_they_get_exactly(layer: str, activation: str) -> None:
    parts = {"layer": chosen("layer", layer), "activation": chosen("activation", activation)}
    assert difference(*deeper(wiring="plain", **parts)) < EXACT


@pytest.mark.parametrize("activation", SMOOTH)
def test_plain_blocks_hand_on_nearly_what_they_get(activation: str) -> None:
    network, child = deeper(wiring="plain", activation=chosen("activation", activation))
    with torch.no_grad():
        wanted, found = network(images(64)), child(images(64))
    assert torch.corrcoef(torch.stack([wanted.flatten(), found.flatten()]))[0, 1] > 0.85


def test_plain_blocks_of_functions_are_near_the_identity() -> None:
    for basis in ("bspline", "rbf", "chebyshev", "fourier"):
        layer = {"kan_conv2d": {"basis": chosen("basis", basis)}}
        assert difference(*deeper(wiring="plain", layer=layer)) < 0.3, basis


def test_what_cannot_begin_as_nothing_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        deeper(wiring="plain", layer=chosen("layer", "kan_attention"))
    said = [record.getMessage() for record in caplog.records]
    assert said[0] == "stages.0.block1 starts with fresh weights: no layer like it can hand on its input"
    assert len(said) == 3


def test_which_stages_can_get_deeper_is_told_beforehand() -> None:
    stage = {"wiring": "plain", "layer": "conv2d", "activation": "relu"}
    assert can_begin(stage)
    assert can_begin(stage | {"activation": "silu"})
    assert not can_begin(stage | {"activation": "polynorm"})
    assert not can_begin(stage | {"layer": chosen("layer", "mbconv")})
    assert can_begin(stage | {"wiring": "residual", "layer": chosen("layer", "mbconv")})
    never_zero = {"expression": dict(join="max", left="abs", outer="sigmoid", inner="x", slope="fixed")}
    assert not can_begin(stage | {"wiring": "residual", "activation": never_zero})
    assert can_begin(stage | {"wiring": "rezero", "activation": never_zero})


@pytest.mark.parametrize("name", [name for name in entries("activation") if name not in SCALED])
def test_a_resting_place_has_a_slope(name: str) -> None:
    """By differences around it, not by the derivative that found it."""
    torch.manual_seed(0)
    activation = make("activation", chosen("activation", name), 8).double().eval()
    place, left = resting_place(activation, 8)
    with torch.no_grad():
        below, there, above = (
            activation(torch.full((1, 8, 1, 1), x, dtype=torch.float64)) for x in (place - 1e-3, place, place + 1e-3)
        )
    assert max((below - there).abs().amax(), (above - there).abs().amax()) > 1e-5
    assert float(there.abs().amax()) == pytest.approx(left, abs=1e-12)


def test_fewer_blocks_are_the_first_ones() -> None:
    before, after = vision(16, (16,), (3,)), vision(16, (16,), (2,))
    network, child = heir(before, after)
    stage: Any = network.get_submodule("stages.0")
    del stage.block2
    assert difference(network, child) == 0


@pytest.mark.parametrize("name", ["n_m", {"random": {"density": 0.6}}])
def test_depths_change_under_masks(name: Any) -> None:
    """A random mask has another density in each layer when there are more, so some weights go: next to nothing."""
    found = difference(*deeper(sparsity=name, wiring="residual"))
    assert found == 0 if name == "n_m" else found < 0.05


def test_a_block_behind_one_that_is_dead_begins_anew() -> None:
    """Where all that comes is the same, nothing says what it is to be handed on as."""
    before = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()).double()
    nn.init.constant_(before[1].weight, 0.01)
    nn.init.constant_(before[1].bias, -0.2)
    for activation in (nn.ReLU(), make("activation", "rational", 4)):
        body = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), activation).double()
        kept = {name: value.clone() for name, value in body.state_dict().items()}
        assert become_identity(body, before, 4) is None
        assert all(torch.equal(value, kept[name]) for name, value in body.state_dict().items())
