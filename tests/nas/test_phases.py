from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import nn

from nas.tasks import find_task
from nas.training.loop import State, train
from nas.training.seeding import seeded
from search_spaces.bases.bspline import BSpline
from search_spaces.bases.selectable import Selectable
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.mlp_kan_moe import MlpKanMoe
from search_spaces.phases import auxiliary_loss, begin_epoch

torch.set_num_threads(1)
DIGITS = find_task("digits")
TRAINING: dict[str, Any] = {"optimizer": {"adamw": {"rate": 3e-3, "weight_decay": 1e-2}}, "batch": 128}


def network(basis: nn.Module) -> nn.Module:
    with seeded(0):
        return nn.Sequential(KanConv2d(1, 4, basis=basis), nn.AvgPool2d(4), nn.Flatten(), KanLinear(16, 10, "rbf"))


def states(basis: nn.Module, epochs: int, start: State | None = None) -> list[State]:
    """Train and return where the training stood after each epoch."""
    kept: list[State] = []
    list(train(network(basis), DIGITS, TRAINING, epochs, seed=3, state=start, keep=lambda s: kept.append(deepcopy(s))))
    return kept


@pytest.mark.parametrize("kind", ["quantile", "selectable"])
def test_a_training_that_goes_on_midway_ends_as_the_unbroken_one(kind: str) -> None:
    def basis() -> nn.Module:
        return BSpline(5, 3, "quantile") if kind == "quantile" else Selectable(["rbf", "fourier"])

    unbroken = states(basis(), 4)
    resumed = states(basis(), 4, unbroken[1])
    assert len(unbroken) == 4 and len(resumed) == 2
    ends = [each[-1].network for each in (unbroken, resumed)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_grids_are_placed_before_the_first_epoch_and_stay() -> None:
    first, *others = (state.network for state in states(BSpline(5, 3, "quantile"), 2))
    name = "0.expansion.basis.knots"
    assert not torch.equal(first[name], BSpline(5, 3, "quantile").knots)
    assert all(torch.equal(first[name], other[name]) for other in others)
    inputs = DIGITS.train()[0][:512]
    assert first[name][3].item() == pytest.approx(inputs.min().item(), abs=1e-5)


def test_a_training_ends_with_a_chosen_basis() -> None:
    after = states(Selectable(["rbf", "fourier"]), 5)
    free = [int((state.network["0.expansion.basis.barred"] == 0).sum()) for state in after]
    assert free == [2, 2, 2, 2, 1]


def test_a_network_without_such_parts_is_left_alone() -> None:
    layer = network(BSpline())
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    begin_epoch(layer, 0, 1, DIGITS.train()[0][:8])
    assert all(torch.equal(before[name], value) for name, value in layer.state_dict().items())
    assert auxiliary_loss(layer) is None


def test_the_balance_of_a_router_is_part_of_the_loss() -> None:
    def trained(balance: float) -> dict[str, torch.Tensor]:
        with seeded(0):
            moe = MlpKanMoe(1, 4, experts=4, balance=balance)
            model = nn.Sequential(moe, nn.AvgPool2d(4), nn.Flatten(), nn.Linear(16, 10))
        list(train(model, DIGITS, TRAINING, 1, seed=0))
        return model.state_dict()

    without, with_it = trained(0.0), trained(5.0)
    assert not torch.equal(without["0.router.weight"], with_it["0.router.weight"])
    assert torch.equal(without["0.router.weight"], trained(0.0)["0.router.weight"])


def test_the_parts_add_up() -> None:
    two = nn.Sequential(MlpKanMoe(2, 2, experts=4), MlpKanMoe(2, 2, experts=4))
    two(torch.randn(3, 2, 4, 4))
    extra = auxiliary_loss(two)
    assert extra is not None
    torch.testing.assert_close(extra, two[0].auxiliary_loss + two[1].auxiliary_loss)
