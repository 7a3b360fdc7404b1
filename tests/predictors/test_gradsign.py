from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from predictors import Batch, Unscorable, gradsign
from search_spaces.registry import make


def network(dtype: torch.dtype = torch.float64) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),  # a bias here has gradient 0, and rounding would decide its sign
        nn.BatchNorm2d(8),
        make("activation", "group_rational", 8),
        nn.Dropout(0.5),
        nn.Conv2d(8, 8, 3, stride=2),
        make("activation", {"helu": {}}, 8),
        nn.Flatten(),
        nn.Linear(32, 3),
    ).to(dtype)


def batch(n: int = 10, memory: int = 2**30) -> Batch:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 2, 6, 6, generator=rng, dtype=torch.float64)
    return Batch(inputs, torch.randint(3, (n,), generator=rng), memory=memory)


def reference(model: nn.Module, batch: Batch) -> float:
    """One backward pass a sample, batch normalisation in training mode, all signs side by side."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    rows = []
    for i in range(len(batch)):
        model.zero_grad()
        torch.autograd.backward(cross_entropy(model(batch.inputs[i : i + 1]), batch.targets[i : i + 1]))
        rows.append(torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).sign())
    return torch.stack(rows).sum(0).abs().sum().item()


@pytest.mark.parametrize("memory", [1, 2**17, 2**30], ids=["1 byte", "128 KiB", "1 GiB"])
def test_the_score_is_that_of_an_explicit_loop(memory: int) -> None:
    score = gradsign.score(network(), batch(memory=memory), cross_entropy)
    assert score == reference(network(), batch())
    assert 0 < score < 10 * sum(p.numel() for p in network().parameters())


def test_a_case_by_hand() -> None:
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.zero_()
    # The gradient of (w·x - t)²/2 at w = 0 is -t·x: signs +, -, -, -, 0.
    x, t = torch.tensor([[1.0], [1.0], [-2.0], [3.0], [0.0]]), torch.tensor([[-1.0], [2.0], [-3.0], [4.0], [5.0]])
    assert gradsign.score(model, Batch(x, t), lambda y, t: (y - t).square().sum() / 2) == 2


def test_the_targets_matter() -> None:
    given = batch()
    assert gradsign.score(network(), given, cross_entropy) != gradsign.score(
        network(), Batch(given.inputs, given.targets.flip(0)), cross_entropy
    )


class NoVmap(torch.autograd.Function):
    """Doubles; the old style of Function, which torch.func refuses."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2 * x

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return 2 * grad


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        doubled: Tensor = NoVmap.apply(x)  # type: ignore[no-untyped-call]
        return doubled


def test_a_layer_that_vmap_forbids_is_scored_sample_by_sample() -> None:
    model = nn.Sequential(network(), Doubling())
    with pytest.raises(RuntimeError):
        torch.func.vmap(torch.func.grad(lambda x: model[1](x).sum()))(batch().inputs)
    assert gradsign.score(model, batch(), cross_entropy) == reference(model, batch())


def test_frozen_parameters_do_not_count_and_unused_ones_add_nothing() -> None:
    model = network()
    model[0].requires_grad_(False)  # type: ignore[index]
    model.register_parameter("unused", nn.Parameter(torch.ones(5).double()))
    assert gradsign.score(model, batch(), cross_entropy) == reference(model, batch())


def test_it_works_without_gradients_around_and_in_bfloat16() -> None:
    with torch.no_grad():
        rounded = gradsign.score(network(torch.bfloat16), batch(300), cross_entropy)
    exact = gradsign.score(network(), batch(300), cross_entropy)
    assert rounded == pytest.approx(exact, rel=0.1)


def spoilt() -> nn.Module:
    model = network()
    model[4].weight.data[0, 0, 0, 0] = torch.nan  # type: ignore[index]
    return model


@pytest.mark.parametrize(
    ("model", "inputs", "message"),
    [
        (spoilt(), batch().inputs, "losses and gradients have to be finite"),
        (nn.Flatten(), batch().inputs, "no trainable parameters"),
        (network(), batch().inputs[:9], "got 9 samples with 10 targets"),
        (network(), batch().inputs[:, :1], "expected input.*channels"),
        (
            nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3)),
            batch().inputs.float(),
            "Expected more than 1 value per channel",
        ),
    ],
    ids=["nan", "no parameters", "too few", "wrong channels", "batch norm of one value"],
)
def test_what_cannot_be_scored_is_said_in_one_line(model: nn.Module, inputs: Tensor, message: str) -> None:
    with pytest.raises(Unscorable, match=f"gradsign cannot score this network: .*{message}") as caught:
        gradsign.score(model, Batch(inputs, batch().targets), cross_entropy)
    assert "\n" not in str(caught.value)
