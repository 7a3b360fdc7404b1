"""What every registered activation must do; each family is compared with its formula in `activations/`."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from search_spaces.moments import gain
from search_spaces.registry import Entry, entries

CHANNELS = 16
ACTIVATIONS = list(entries("activation").values())
every_activation = pytest.mark.parametrize("entry", ACTIVATIONS, ids=lambda entry: entry.name)

BATCH_STATISTICS = {"evonorm_b0"}

# With 512 channels the second moment behind relu still walks at random, by some 30 % in 20 layers: the seeds are fixed.
WIDTH, DEPTH, SAMPLES, SEEDS = 512, 20, 128, (2, 5)
STEEPEST = 1.05
# How many layers keep the second moment of those that pass on more than in proportion: the slope s of
# log E[f(√q·z)²] over log q is above 1.05 at q = 1, so that in s^layers what one layer is off by grows, whatever the
# gain. One layer of 512 is off by some 6 %.
TOO_STEEP = {
    "mish": 12,
    "gelu": 8,
    "silu": 6,
    "hardswish": 5,
    "rational": 6,
    "group_rational": 6,
    "recurrent_rational": 6,
    "expression": 6,
    "polyrelu": 2,
}


def built(entry: Entry) -> nn.Module:
    torch.manual_seed(0)
    activation: nn.Module = entry.make(CHANNELS)
    return activation


@every_activation
@pytest.mark.parametrize("places", [(), (5,), (4, 3), (2, 3, 2)], ids=lambda places: f"{2 + len(places)}d")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_shape_and_precision_stay(entry: Entry, places: tuple[int, ...], dtype: torch.dtype) -> None:
    x = torch.randn(3, CHANNELS, *places).to(dtype)
    y = built(entry)(x)
    assert y.shape == x.shape and y.dtype == dtype and y.isfinite().all()


@every_activation
@pytest.mark.parametrize("places", [(), (4, 3)], ids=["2d", "4d"])
def test_a_sample_does_not_depend_on_the_others(entry: Entry, places: tuple[int, ...]) -> None:
    activation = built(entry).train(entry.name not in BATCH_STATISTICS)
    x = torch.randn(4, CHANNELS, *places)
    others = torch.cat([x[:1], 1e4 * x[1:]])
    torch.testing.assert_close(activation(x)[:1], activation(x[:1]), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(activation(others)[:1], activation(x[:1]), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", BATCH_STATISTICS)
def test_statistics_of_the_batch_are_used_in_training(name: str) -> None:
    activation = built(entries("activation")[name])
    x = torch.randn(4, CHANNELS, 4, 3)
    assert not torch.allclose(activation(torch.cat([x[:1], 100 * x[1:]]))[:1], activation(x)[:1])


@every_activation
def test_all_that_is_learned_is_in_the_state(entry: Entry) -> None:
    trained, fresh = built(entry), built(entry)
    with torch.no_grad():
        for parameter in trained.parameters():
            parameter.add_(torch.randn_like(parameter) / 10)
    x = torch.randn(3, CHANNELS, 4, 3)
    trained(x)
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh.eval()(x), trained.eval()(x))
    held = {name for module in trained.modules() for name, value in vars(module).items() if isinstance(value, Tensor)}
    assert not held, f"{held} would not be saved"


@every_activation
def test_autocast_makes_nothing_coarser(entry: Entry) -> None:
    if entry.name == "prelu":
        pytest.skip("torch's autocast runs prelu in low precision")
    activation, x = built(entry), torch.randn(3, CHANNELS, 4, 3)
    wanted = activation(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(activation(x), wanted)


def extremes(places: tuple[int, ...]) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for values in ([0.0], [1e4], [-1e4], [0.0, 1e4, -1e4]):
        drawn = torch.randint(len(values), (3, CHANNELS, *places), generator=generator)
        yield torch.tensor(values)[drawn]


@every_activation
@pytest.mark.parametrize("places", [(), (4, 3)], ids=["2d", "4d"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_finite_at_zero_and_far_out(entry: Entry, places: tuple[int, ...], dtype: torch.dtype) -> None:
    for x in extremes(places):
        activation, point = built(entry).to(dtype), x.to(dtype).requires_grad_()
        y = activation(point)
        y.sum().backward()
        for value in (y, point.grad, *(parameter.grad for parameter in activation.parameters())):
            assert value is not None and value.isfinite().all()


@pytest.fixture(scope="module")
def weights() -> dict[int, Tensor]:
    drawn = {seed: torch.Generator().manual_seed(seed) for seed in SEEDS}
    return {seed: torch.randn(DEPTH, WIDTH, WIDTH, generator=drawn[seed]) for seed in SEEDS}


@every_activation
def test_the_second_moment_stays_through_a_stack_of_layers(entry: Entry, weights: dict[int, Tensor]) -> None:
    """Normal inputs, then 20 times the activation and a linear map with weights N(0, gain/fan_in)."""
    layers: list[nn.Module] = [entry.make(WIDTH) for _ in range(DEPTH)]
    scale = (gain(layers[0], WIDTH) / WIDTH) ** 0.5
    for seed in SEEDS:
        x = torch.randn(SAMPLES, WIDTH, generator=torch.Generator().manual_seed(100 + seed))
        moments = [x.square().mean().item()]
        with torch.no_grad():
            for activation, weight in zip(layers[: TOO_STEEP.get(entry.name, DEPTH)], weights[seed], strict=False):
                x = activation(x) @ weight.T * scale
                moments.append(x.square().mean().item())
        assert all(moments[0] / 2 < moment < moments[0] * 2 for moment in moments), moments


@every_activation
def test_only_activations_that_are_too_steep_are_let_off(entry: Entry) -> None:
    step, activation = 1.05, built(entry)
    louder = nn.Sequential(Scaled(step**0.5), activation)
    quieter = nn.Sequential(Scaled(step**-0.5), activation)
    ratio = torch.tensor(gain(quieter, CHANNELS) / gain(louder, CHANNELS))
    slope = (ratio.log() / (2 * torch.tensor(step).log())).item()
    assert (abs(slope) > STEEPEST) == (entry.name in TOO_STEEP), slope


class Scaled(nn.Module):
    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return self.factor * x
