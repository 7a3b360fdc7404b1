"""What becomes of activations that are others in the child."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from heirs import difference, heir, parent, vision
from torch import Tensor

from nas.training.inheritance.activations import fit_alike
from search_spaces.activations.recurrent_rational import RecurrentRational
from search_spaces.registry import make


def changed(before: Any, after: Any) -> float:
    return difference(*heir(vision(16, (16, 24), activation=before), vision(16, (16, 24), activation=after)))


def test_a_rational_function_takes_over_what_tanh_did() -> None:
    """The best safe Padé of its degrees is within 2e-3 of tanh on [-5, 5]; fresh, it is fitted to silu."""
    assert changed("tanh", {"rational": {"init": "silu"}}) < 0.02


@pytest.mark.parametrize("after", ["prelu", {"matrix_relu": {"bands": "diagonal"}}, "crrelu"])
def test_what_holds_relu_takes_it_over_exactly(after: Any) -> None:
    assert changed("relu", after) < 1e-5


def test_a_trained_function_is_taken_over_not_its_beginning() -> None:
    before = vision(16, (16,), activation="prelu")
    network = parent(before)
    activation: Any = network.get_submodule("stages.0.block0.body.2")
    with torch.no_grad():
        activation.weight.fill_(-0.7)
    after = vision(16, (16,), activation={"matrix_relu": {"bands": "diagonal"}})
    assert difference(*heir(before, after, network)) < 1e-5


def test_fixed_activations_are_swapped() -> None:
    _, child = heir(vision(activation="relu"), vision(activation="tanh"))
    network, _ = heir(vision(activation="relu"), vision(activation="relu"))
    mine: Any = child.get_submodule("stages.0.block0.body")
    theirs: Any = network.get_submodule("stages.0.block0.body")
    assert type(mine[2]) is torch.nn.Tanh
    assert torch.equal(mine[0].weight, theirs[0].weight)
    theirs[2] = torch.nn.Tanh()
    assert difference(network, child) == 0


def test_other_options_leave_what_was_trained() -> None:
    assert changed({"rational": {"init": "tanh"}}, {"rational": {"init": "relu"}}) == 0
    assert changed({"helu": {"alpha": 0.02}}, {"helu": {"alpha": 0.2}}) == 0


def test_another_expression_is_fitted_not_copied() -> None:
    """Both have one learned number a channel, which means something else in each."""
    first = {"join": "mul", "left": "x", "outer": "sigmoid", "inner": "x", "slope": "learned"}
    other = first | {"outer": "tanh", "inner": "softplus"}
    before = vision(16, (16,), activation={"expression": first})
    network, child = heir(before, vision(16, (16,), activation={"expression": other}))
    mine, theirs = (each.get_parameter("stages.0.block0.body.2.learned") for each in (child, network))
    assert mine.shape == theirs.shape and not torch.allclose(mine, theirs, atol=0.05)
    assert difference(network, child) < 0.5


def test_what_mixes_channels_starts_as_it_is() -> None:
    _, child = heir(vision(activation="relu"), vision(activation="gdn"))
    fresh = make("activation", "gdn", 16)
    activation: Any = child.get_submodule("stages.0.block0.body.2")
    assert torch.allclose(activation.gamma_root.float(), fresh.gamma_root)


def test_a_shared_rational_function_stays_the_parent_s_where_one_stage_alone_changes() -> None:
    def architecture(first: Any, second: Any) -> Any:
        found = vision(16, (16, 24))
        for stage, activation in zip(found["network"]["stages"], (first, second), strict=True):
            stage["activation"] = activation
        return found

    shared = {"recurrent_rational": {"init": "silu"}}
    before = architecture("tanh", shared)
    network, child = heir(before, architecture(shared, shared))
    theirs = next(m for m in network.modules() if isinstance(m, RecurrentRational))
    mine = [m for m in child.modules() if isinstance(m, RecurrentRational)]
    assert len(mine) == 1
    assert torch.equal(mine[0].rational.numerator, theirs.rational.numerator)
    network, child = heir(architecture("tanh", "tanh"), architecture(shared, shared))
    assert difference(network, child) < 0.02


def test_all_channels_are_fitted_alike() -> None:
    activation = make("activation", {"group_rational": {"init": "silu"}}, 16).double()
    fit_alike(activation, torch.tanh)
    x = torch.linspace(-5, 5, 101, dtype=torch.float64)
    values: Tensor = activation(x[:, None, None].expand(-1, 16, 1)).detach()
    assert (values - torch.tanh(x)[:, None, None]).abs().max() < 5e-3
