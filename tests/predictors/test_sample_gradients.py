import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy

from nas.training.measures import LiveStorages
from predictors import Batch, Unscorable, fisher, gradients, gradsign
from predictors.gradients import batch_gradient, memory_chunks, sample_gradients, saved_bytes

MIB = 2**20


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Tanh(), nn.Conv2d(4, 4, 3), nn.SiLU(), nn.Flatten(), nn.Linear(64, 3)
    ).double()


def batch(n: int = 10, memory: int = 2**30) -> Batch:
    rng = torch.Generator().manual_seed(1)
    inputs = torch.randn(n, 2, 8, 8, generator=rng, dtype=torch.float64)
    return Batch(inputs, torch.randint(3, (n,), generator=rng), memory=memory)


def by_hand(model: nn.Module, inputs: Tensor, targets: Tensor) -> list[Tensor]:
    return list(torch.autograd.grad(cross_entropy(model(inputs), targets), list(model.parameters())))


@pytest.mark.parametrize("memory", [1, 64 * 1024, 2**30])
def test_each_sample_has_the_gradient_of_its_own_pass(memory: int) -> None:
    found = list(sample_gradients(network(), batch(memory=memory), cross_entropy))
    assert len(found) == {1: 10, 64 * 1024: 2, 2**30: 1}[memory]
    losses = torch.cat([losses for losses, _ in found])
    for i in range(10):
        x, y = batch().inputs[i : i + 1], batch().targets[i : i + 1]
        torch.testing.assert_close(losses[i], cross_entropy(network()(x), y))
        for (name, _), wanted in zip(network().named_parameters(), by_hand(network(), x, y), strict=True):
            torch.testing.assert_close(torch.cat([each[name] for _, each in found])[i], wanted)


def test_a_refusal_after_the_first_chunk_is_not_taken_for_a_layer_that_vmap_forbids() -> None:
    calls = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 2:  # the estimate and the first chunk are through
            raise RuntimeError("lost")
        return cross_entropy(output, target)

    with pytest.raises(RuntimeError, match="lost"):
        list(sample_gradients(network(), batch(memory=1), loss))
    assert len(calls) == 3


class Twice(nn.Module):
    """Attention over the rows of a map, and an operator that vmap takes sample by sample."""

    def __init__(self) -> None:
        super().__init__()
        self.mixed = nn.Linear(8, 24)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.mixed(x).chunk(3, -1)
        attended = functional.scaled_dot_product_attention(q, k, v)
        return functional.fractional_max_pool2d(attended, 2, output_size=4, _random_samples=torch.rand(1, 2, 2))


def test_no_warning_of_vmap_reaches_the_user() -> None:
    model = nn.Sequential(Twice(), nn.Flatten(), nn.Linear(32, 3))
    given = batch()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = list(sample_gradients(model, Batch(given.inputs.float(), given.targets), cross_entropy))
    assert len(found) == 1


def test_the_bytes_that_a_sample_keeps_counted_by_hand() -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2))
    given = Batch(torch.randn(7, 3), torch.randn(7, 2))
    # In float32: the input [3], the sigmoid [5] and the output [2], from which the square takes its gradient.
    assert saved_bytes(model, given, lambda y, t: y.square().sum()) == 4 * (3 + 5 + 2)


@pytest.mark.parametrize("frozen", [1, 3])
def test_the_bytes_of_frozen_layers_count(frozen: int) -> None:
    model = nn.Sequential(nn.Linear(3, 5), nn.Sigmoid(), nn.Linear(5, 2))
    given = Batch(torch.randn(7, 3), torch.randn(7, 2))
    for layer in model[:frozen]:  # type: ignore[index]
        layer.requires_grad_(False)
    # Without gradients of the first or of any weights their inputs need not be kept, but all else is.
    assert saved_bytes(model, given, lambda y, t: y.square().sum()) == 4 * (5 + 2)


def test_complex_parameters_are_declined() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    with pytest.raises(Unscorable, match="parameters are complex"):
        fisher.score(model, Batch(torch.randn(3, 2, dtype=torch.complex64), torch.randint(2, (3,))))


def test_a_second_derivative_keeps_more() -> None:
    once, twice = (saved_bytes(network(), batch(), cross_entropy, order) for order in (1, 2))
    assert 1.5 * once < twice < 10 * once


def test_the_gradient_of_a_batch_is_that_of_its_mean_loss() -> None:
    found = batch_gradient(network(), batch(), cross_entropy)
    wanted = by_hand(network(), batch().inputs, batch().targets)
    for (name, _), each in zip(network().named_parameters(), wanted, strict=True):
        torch.testing.assert_close(found[name], each)


def test_chunks_count_by_their_samples_and_have_their_own_statistics() -> None:
    kept = saved_bytes(network().eval(), batch(), cross_entropy)
    found = batch_gradient(network(), batch(memory=4 * kept), cross_entropy)
    parts = [(slice(0, 4), 4), (slice(4, 7), 3), (slice(7, 10), 3)]
    each = [by_hand(network(), batch().inputs[part], batch().targets[part]) for part, _ in parts]
    for i, (name, _) in enumerate(network().named_parameters()):
        torch.testing.assert_close(found[name], sum(n / 10 * g[i] for (_, n), g in zip(parts, each, strict=True)))


def test_a_network_whose_batch_norm_refuses_a_single_sample_has_a_batch_gradient() -> None:
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.BatchNorm1d(2), nn.Linear(2, 3)).double()
    found = batch_gradient(model, batch(), cross_entropy)
    assert found["3.weight"].abs().sum() > 0 and model[2].training


def test_frozen_and_unused_parameters() -> None:
    model = network()
    model[0].requires_grad_(False)  # type: ignore[index]
    model.register_parameter("unused", nn.Parameter(torch.ones(5).double()))
    for found in (batch_gradient(model, batch(), cross_entropy), next(_gradients(model))):
        assert set(found) == {name for name, _ in model.named_parameters() if not name.startswith("0.")}
        assert not found["unused"].any()


def _gradients(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    return (each for _, each in sample_gradients(model, batch(), cross_entropy))


def test_without_trainable_parameters_there_is_no_gradient() -> None:
    for refused in (batch_gradient, lambda *given: next(sample_gradients(*given))):
        with pytest.raises(Unscorable, match="no trainable parameters"):
            refused(network().requires_grad_(False), batch(), cross_entropy)


def wide() -> nn.Module:
    torch.manual_seed(0)
    layers: list[nn.Module] = [nn.Conv2d(2, 16, 3, padding=1, bias=False)]
    for _ in range(4):
        layers += [nn.BatchNorm2d(16), nn.Tanh(), nn.Conv2d(16, 16, 3, padding=1, bias=False)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(16 * 64, 3)).double()


def peak(compute: Any) -> tuple[float, int]:
    live = LiveStorages()
    with live:
        value = compute()
    return value, live.peak


@pytest.mark.parametrize("predictor", [gradsign, fisher])
def test_the_memory_is_bounded_and_the_score_is_the_same(predictor: Any) -> None:
    own = sum(each.nbytes for each in wide().parameters())
    whole, most = peak(lambda: predictor.score(wide(), batch(64), cross_entropy))
    parted, least = peak(lambda: predictor.score(wide(), batch(64, 2 * MIB), cross_entropy))
    assert parted == pytest.approx(whole, rel=1e-12)
    assert 8 * MIB < most < 12 * MIB
    assert least < 2 * own + 1.5 * 2 * MIB


def test_a_processor_takes_no_more_samples_at_once_than_are_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gradients, "WORKING_SET", 1)
    assert len(list(sample_gradients(network(), batch(), cross_entropy))) == 10


@pytest.mark.parametrize("order", [1, 2])
def test_a_batch_goes_in_as_few_chunks_as_its_memory_allows(order: int) -> None:
    kept = saved_bytes(network().eval(), batch(), cross_entropy, order)
    sizes = [len(chunk) for chunk in memory_chunks(network(), batch(memory=5 * kept), cross_entropy, order)]
    assert sizes == [5, 5]
    assert [len(chunk) for chunk in memory_chunks(network(), batch(memory=5 * kept - 1), cross_entropy, order)] == [
        4,
        3,
        3,
    ]
