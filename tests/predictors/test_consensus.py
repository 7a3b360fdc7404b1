import sys
from random import Random

import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Predictor, Unscorable, az_nas, consensus
from predictors.az_nas import trainability
from predictors.noise import gaussian, measure
from search_spaces.registry import make
from search_spaces.space import Shape, find_space


def batch(channels: int = 2, seed: int = 3, size: int = 8) -> Batch:
    rng = torch.Generator().manual_seed(1)
    return Batch(torch.randn(6, channels, size, size, generator=rng), torch.zeros(6), seed)


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x + x


class Dead(nn.Module):
    """Adds a convolution times zero."""

    def __init__(self) -> None:
        super().__init__()
        self.lost = nn.Conv2d(4, 4, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        return 2 * x + 0 * self.lost(x)


def block(channels_in: int, channels_out: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(channels_in, channels_out, 3, padding=1), nn.BatchNorm2d(channels_out), nn.Tanh())


def network(*more: nn.Module) -> nn.Module:
    return nn.Sequential(block(2, 4, 0), *more, block(4, 6, 1), nn.Flatten(), nn.Linear(384, 3))


def test_the_parts_are_those_of_the_network_as_it_starts() -> None:
    found = consensus.score.measure(network(block(4, 4, 2)), batch())
    model = network(block(4, 4, 2)).train()
    torch.manual_seed(3)
    expected = measure(model, gaussian(batch()))
    first, second, third = expected.entropies
    assert found["consensus.expressivity"] == pytest.approx((first + second + third) / 3)
    assert found["consensus.progressivity"] == pytest.approx(min(second - first, third - second))
    assert found["consensus.trainability"] == pytest.approx(trainability(expected.norms))
    assert found["consensus.complexity"] == expected.live_flops


def test_networks_are_pooled_as_in_az_nas() -> None:
    rows = {column: [1.0, 2.0, 4.0, None] for column in consensus.score.columns}
    assert consensus.score.pooled(rows)[:3] == pytest.approx(az_nas.log_ranks([[x] * 4 for x in (1.0, 2.0, 4.0)]))
    assert consensus.score.pooled(rows)[3] is None


def test_a_norm_whose_scale_is_zero_is_opened() -> None:
    model = nn.Sequential(nn.Conv2d(2, 4, 1), nn.BatchNorm2d(4), nn.GroupNorm(2, 4))
    nn.init.zeros_(model[1].weight)  # type: ignore[arg-type]
    consensus._open_gates(model)
    assert bool((model[1].weight == 1).all()) and not bool(model[1].bias.any())  # type: ignore[union-attr]


def test_gates_are_opened_and_biases_are_not() -> None:
    gated = make("wiring", "rezero", block(4, 4, 2), 4)
    assert isinstance(gated.alpha, nn.Parameter)
    closed = consensus.score.measure(network(gated), batch())
    nn.init.ones_(gated.alpha)
    assert consensus.score.measure(network(gated), batch()) == closed
    biased = nn.Conv2d(6, 1, 1)
    nn.init.zeros_(biased.bias)  # type: ignore[arg-type]
    model = nn.Sequential(block(2, 6, 0), biased)
    consensus._open_gates(model)
    assert not biased.bias.any()  # type: ignore[union-attr]


def test_a_block_that_hands_on_its_input_gives_the_lowest_trainability() -> None:
    found = consensus.score.measure(network(nn.Sequential(Same())), batch())
    assert found["consensus.trainability"] == -sys.float_info.max


def test_an_identity_among_the_blocks_is_none() -> None:
    assert consensus.score.measure(network(nn.Identity()), batch()) == consensus.score.measure(network(), batch())


def test_dead_flops_do_not_count() -> None:
    found = consensus.score.measure(network(Dead()), batch())["consensus.complexity"]
    assert found == consensus.score.measure(network(), batch())["consensus.complexity"]


def test_a_network_of_constant_output_is_last() -> None:
    space, rng, signature = find_space("nasbench201"), Random(0), Shape((3, 8, 8), 10)
    drawn = [space.draw(rng) for _ in range(6)]
    none = dict.fromkeys(drawn[0]["network"]["cell"], "none") | {"edge_0_1": "nor_conv_3x3", "edge_2_3": "nor_conv_3x3"}
    assert space.degenerate is not None
    architectures = [each for each in drawn if not space.degenerate(each)] + [{"network": {"cell": none}}]
    assert space.degenerate(architectures[-1])
    measured = [consensus.score.measure(space.build(each, signature), batch(3)) for each in architectures]
    scores = consensus.score.pooled({column: [each[column] for each in measured] for column in consensus.score.columns})
    assert min(range(len(scores)), key=lambda i: scores[i] or 0.0) == len(architectures) - 1
    for column in consensus.score.columns:
        assert measured[-1][column] < min(each[column] for each in measured[:-1])


@pytest.mark.parametrize("predictor", [consensus.score, az_nas.score], ids=["consensus", "az_nas"])
def test_the_network_is_left_as_it_was_and_the_score_repeats(predictor: Predictor) -> None:
    model = network(nn.ReLU(inplace=True), make("wiring", "rezero", block(4, 4, 2), 4)).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    first = predictor.measure(model, batch())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(module.training for module in model.modules())
    assert model[1].inplace is True  # type: ignore[index, union-attr]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert predictor.measure(model, batch()) == first
    assert predictor.measure(model, batch(seed=4)) != first


def test_only_the_shape_of_the_batch_matters() -> None:
    other = Batch(torch.zeros(6, 2, 8, 8), torch.ones(6), 3)
    assert not consensus.score.labels
    assert consensus.score.measure(network(), batch()) == consensus.score.measure(network(), other)


def test_it_measures_any_network_of_kan_vision() -> None:
    space, rng = find_space("kan_vision"), Random(0)
    for _ in range(20):
        torch.manual_seed(0)
        found = consensus.score.measure(space.build(space.draw(rng), Shape((1, 8, 8), 10)), batch(1))
        assert found["consensus.expressivity"] > 0 < found["consensus.complexity"]


def test_half_precision_is_measured_in_single() -> None:
    exact = consensus.score.measure(network(), batch())
    rounded = consensus.score.measure(network().bfloat16(), batch())
    assert rounded == pytest.approx(exact, rel=0.1)


def overflowing() -> nn.Module:
    model = network()
    model[0][2] = nn.Softplus()  # type: ignore[index]
    nn.init.constant_(model[0][1].weight, torch.inf)  # type: ignore[index]
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Flatten(), "two blocks at least are needed, with maps, tokens or vectors, but it has 0"),
        (overflowing(), "the features of blocks have to be finite, but at the start this network has others"),
        (network(nn.Conv2d(5, 4, 1)), ".*channels"),
    ],
    ids=["no blocks", "not finite", "breaks"],
)
def test_what_cannot_be_measured_is_declined_in_one_line(model: nn.Module, message: str) -> None:
    with pytest.raises(Unscorable, match=f"^consensus cannot score this network: {message}") as caught:
        consensus.score.measure(model, batch())
    assert "\n" not in str(caught.value)
