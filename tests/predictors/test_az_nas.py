import math
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from predictors import Batch, Unscorable, az_nas, flops
from predictors.az_nas import log_ranks, progressivity, trainability
from predictors.noise import gaussian, measure
from search_spaces.registry import make


class Masked(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return weight * (torch.arange(weight[0].numel()).view(weight[0].shape) % 2)


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x + x


def network(seed: int = 0, *more: nn.Module) -> nn.Module:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(4)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    stem = nn.Sequential(nn.Conv2d(2, 4, 3), norm, nn.ReLU())
    last = nn.Sequential(nn.Conv2d(4, 8, 3), nn.GroupNorm(2, 8))
    return nn.Sequential(stem, *more, last, nn.Flatten(), nn.Linear(128, 3))


def batch(seed: int = 0) -> Batch:
    return Batch(torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(1)), torch.zeros(6), seed)


def test_the_score_sums_the_logarithms_of_ranks() -> None:
    rows = [[1.0, 5.0, 0.0, 2.0], [2.0, 5.0, -1.0, 2.0], [3.0, 4.0, 7.0, 2.0]]
    # Ranks: 1 2.5 2 2, then 2 2.5 1 2, then 3 1 3 2; of three networks.
    expected = [math.log(1 * 2.5 * 2 * 2 / 81), math.log(2 * 2.5 * 1 * 2 / 81), math.log(3 * 1 * 3 * 2 / 81)]
    assert log_ranks(rows) == pytest.approx(expected)


def test_a_network_by_itself_scores_0() -> None:
    assert log_ranks([[1.0, -2.0, 3.0, 4.0]]) == [0.0]


def test_trainability_and_progressivity_by_hand() -> None:
    assert trainability([2.0, None, 0.5]) == pytest.approx((2 - 2 - 1 / 2 + 2 - 0.5 - 2) / 2, abs=1e-5)
    assert trainability([0.0]) == pytest.approx(2 - 1e6)
    assert progressivity([1.0, 3.0, 2.5, 4.0]) == -0.5


def test_networks_whose_places_never_correspond_are_declined() -> None:
    with pytest.raises(Unscorable, match="none of them correspond"):
        trainability([None, None])


def test_the_parts_are_those_of_weights_drawn_anew() -> None:
    found = az_nas.score.measure(network(), batch())
    torch.manual_seed(0)
    noise, drawn = gaussian(batch()), network(5)
    torch.manual_seed(0)
    gaussian(batch())
    for module in drawn.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.normal_(module.weight, std=(2 / module.weight[0].numel()) ** 0.5)
            nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            module.reset_parameters()
    expected = measure(drawn, noise)
    assert found["az_nas.expressivity"] == pytest.approx(sum(expected.entropies))
    assert found["az_nas.progressivity"] == pytest.approx(expected.entropies[1] - expected.entropies[0])
    assert found["az_nas.trainability"] == pytest.approx(2 - expected.norms[0] - 1 / (expected.norms[0] + 1e-6))  # type: ignore[operator]
    assert found["az_nas.complexity"] == flops.score(network(), batch())


def test_weights_under_a_mask_are_drawn_anew_too() -> None:
    found = []
    for seed in (1, 2):
        model = network(seed)
        parametrize.register_parametrization(model[0][0], "weight", Masked())  # type: ignore[index, arg-type]
        found.append(az_nas.score.measure(model, batch()))
    assert found[0] == found[1]
    assert found[0] != az_nas.score.measure(network(), batch())


def test_a_block_that_hands_on_its_input_gives_the_lowest_trainability() -> None:
    found = az_nas.score.measure(network(0, nn.Sequential(Same())), batch())
    assert found["az_nas.trainability"] == -sys.float_info.max


def test_neither_labels_nor_the_inputs_of_the_batch_matter() -> None:
    other = Batch(torch.zeros(6, 2, 8, 8), torch.ones(6))
    assert not az_nas.score.labels
    assert az_nas.score.measure(network(), batch()) == az_nas.score.measure(network(), other)


def test_layers_that_are_not_redrawn_keep_their_weights() -> None:
    activation = make("activation", "group_rational", 4)
    found = [az_nas.score.measure(network(0, nn.Sequential(activation, nn.Conv2d(4, 4, 1))), batch())]
    with torch.no_grad():
        for parameter in activation.parameters():
            parameter.mul_(2)
    found.append(az_nas.score.measure(network(0, nn.Sequential(activation, nn.Conv2d(4, 4, 1))), batch()))
    assert found[0] != found[1]
