import math

import pytest
import torch
from torch import nn

from predictors import Batch, Unscorable, signal_propagation
from predictors.signal_propagation import propagation


class Scaled(nn.Module):
    def __init__(self, factor: float, shift: float = 0.0) -> None:
        super().__init__()
        self.part, self.factor, self.shift = nn.Identity(), factor, shift

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factor + self.shift


def scaled(*factors: float) -> nn.Module:
    return nn.Sequential(*map(Scaled, factors), nn.Flatten())


def batch(*shape: int) -> Batch:
    rng = torch.Generator().manual_seed(0)
    return Batch(torch.randn(*shape, generator=rng, dtype=torch.float64), torch.zeros(shape[0]))


def standardised() -> Batch:
    x = batch(4, 3, 5, 5).inputs
    x = (x - x.mean((0, 2, 3), keepdim=True)) / x.std((0, 2, 3), correction=0, keepdim=True)
    return Batch(x, torch.zeros(4))


def network() -> nn.Module:
    torch.manual_seed(1)
    first, second = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 3, 3, stride=2)
    return nn.Sequential(nn.Sequential(first, nn.ReLU()), nn.Sequential(second, nn.ReLU()), nn.Flatten()).double()


def test_signals_are_averages_over_channels_of_what_is_found_over_samples_and_places() -> None:
    model, samples = network(), batch(3, 2, 8, 8)
    found = propagation(model, samples)
    assert [each.block for each in found] == ["0", "1"]
    x = samples.inputs
    for layer, signal in zip(model, found, strict=False):  # type: ignore[call-overload]
        x = layer(x)
        channels = [x[:, c].flatten().tolist() for c in range(x.shape[1])]
        means = [math.fsum(each) / len(each) for each in channels]
        varied = [math.fsum((v - m) ** 2 for v in each) / len(each) for each, m in zip(channels, means, strict=True)]
        assert signal.squared_mean == pytest.approx(sum(m * m for m in means) / len(means))
        assert signal.variance == pytest.approx(sum(varied) / len(varied))


@pytest.mark.parametrize("shape", [(6, 5, 4), (30, 4)], ids=["tokens", "vectors"])
def test_the_channels_of_tokens_and_vectors_are_their_last_dimension(shape: tuple[int, ...]) -> None:
    samples = batch(*shape)
    found = propagation(nn.Sequential(Scaled(1.0), Scaled(3.0), nn.Linear(4, 2)).double(), samples)
    variance = samples.inputs.reshape(-1, 4).var(0, correction=0).mean().item()
    assert [each.variance for each in found] == pytest.approx([variance, 9 * variance])


def test_the_score_by_hand() -> None:
    # Variances 1, 4, 1 and squared means 0, 0, 9: growth and decay of log 4 each, and one shift of log 10.
    model = nn.Sequential(Scaled(1.0), Scaled(2.0), Scaled(0.5, 3.0), nn.Flatten())
    score = signal_propagation.score(model, standardised())
    assert score == pytest.approx(-math.log(4) - math.log(10) / 3)


def test_a_signal_that_keeps_scores_highest() -> None:
    assert signal_propagation.score(scaled(1.0, -1.0), standardised()) == pytest.approx(0)


def test_chunks_are_put_together() -> None:
    model, samples = network(), batch(4, 2, 8, 8)
    parts = [propagation(model, Batch(each, torch.zeros(2))) for each in samples.inputs.split(2)]
    found = propagation(model, Batch(samples.inputs, samples.targets, memory=2 * 4000))
    assert found != propagation(model, samples)
    for whole, *halves in zip(found, *parts, strict=True):
        assert whole.variance == pytest.approx(sum(each.variance for each in halves) / 2)


def test_nothing_is_changed() -> None:
    model = nn.Sequential(network()[0], nn.BatchNorm2d(4).double(), network()[1], nn.Flatten()).eval()  # type: ignore[index]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    first = signal_propagation.score(model, batch(3, 2, 8, 8))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert signal_propagation.score(model, batch(3, 2, 8, 8)) == first


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            scaled(1.0, 0.0),
            "channels have to vary, but after block 1 their variance is 0",
        ),
        (
            scaled(math.inf, 1.0),
            "channels have to vary, but after block 0 .* is nan",
        ),
        (nn.Flatten(), "two blocks at least"),
    ],
    ids=["constant", "not finite", "no blocks"],
)
def test_what_cannot_be_scored_is_said(model: nn.Module, message: str) -> None:
    with pytest.raises(Unscorable, match=f"^signal_propagation cannot score this network: {message}"):
        signal_propagation.score(model, standardised())
