import copy

import pytest
import torch
from torch import nn

from search_spaces.bases.bspline import BSpline
from search_spaces.bases.selectable import Selectable
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.mlp_kan_moe import MlpKanMoe
from search_spaces.phases import auxiliary_loss, begin_epoch


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        KanConv2d(2, 3, basis=BSpline(5, 3, "quantile")),
        nn.Flatten(),
        nn.Dropout(0.5),
        KanLinear(48, 4, Selectable(["rbf", "fourier"])),
    )


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


INPUTS = torch.randn(16, 2, 4, 4, generator=torch.Generator().manual_seed(0))


def test_grids_move_before_the_first_epoch_only() -> None:
    model = network()
    before = state(model[0])
    begin_epoch(model, 0, 10, INPUTS)
    first = state(model[0])
    assert not torch.equal(before["expansion.basis.knots"], first["expansion.basis.knots"])
    for epoch in range(1, 10):
        begin_epoch(model, epoch, 10, 3 * INPUTS)
    assert all(torch.equal(first[name], value) for name, value in model[0].state_dict().items())


def test_selectable_bases_are_in_the_phase_of_their_epoch_whatever_was_called_before() -> None:
    """So a training that goes on from a state is in the phase of the unbroken one."""
    model = network()
    for epoch in range(10):
        alone = copy.deepcopy(network())
        begin_epoch(model, epoch, 10, INPUTS)
        begin_epoch(alone, epoch, 10, INPUTS)
        one, other = model[3].basis, alone[3].basis
        assert torch.equal(one.temperature, other.temperature) and torch.equal(one.barred, other.barred)
        assert (one.chosen is not None) == (epoch >= 7)


def test_what_comes_out_depends_on_the_state_the_inputs_and_the_generator_alone() -> None:
    found = []
    for _ in range(2):
        model = network()
        torch.manual_seed(5)
        begin_epoch(model, 0, 3, INPUTS)
        found.append(state(model))
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("training", [True, False])
def test_the_mode_and_the_gradients_are_left_alone(training: bool) -> None:
    model = network().train(training)
    begin_epoch(model, 0, 3, INPUTS)
    assert all(module.training == training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_the_loss_of_a_router_reaches_its_weights_and_is_none_in_eval_mode() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 1), MlpKanMoe(3, 2, experts=4, balance=0.3))
    assert auxiliary_loss(model) is None
    model(INPUTS)
    extra = auxiliary_loss(model)
    assert extra is not None and extra.shape == ()
    extra.backward()
    assert model[1].router.weight.grad is not None and model[1].router.weight.grad.abs().max() > 0
    assert model[0].weight.grad is not None and model[1].experts[0][0].weight.grad is None
    model.eval()
    model(INPUTS)
    assert auxiliary_loss(model) is None


def test_a_network_of_no_such_parts_adds_nothing() -> None:
    assert auxiliary_loss(nn.Sequential(nn.Linear(2, 2), KanLinear(2, 2))) is None
