"""How the contraction computes what `test_kan_layers` says it computes: in chunks, in half precision, in transforms."""

from typing import Any

import pytest
import torch
import torch.utils.checkpoint
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from search_spaces.layers import contraction
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.registry import entries

FINE = {"bspline": {"intervals": 64}}
both = pytest.mark.parametrize("kind", ["linear", "conv"])
every_basis = pytest.mark.parametrize("basis", list(entries("basis")))


@pytest.fixture
def chunked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make chunks of these layers' inputs, the last one shorter, and tiles of the chunks."""
    monkeypatch.setattr(contraction, "KEPT", 1)
    monkeypatch.setattr(contraction, "CHUNK", {"cpu": 70})
    monkeypatch.setattr(contraction, "TILE", 40)


def built(kind: str, basis: Any, dtype: torch.dtype = torch.float64) -> tuple[Any, Tensor]:
    torch.manual_seed(0)
    if kind == "linear":
        return KanLinear(5, 4, basis).to(dtype), 2 * torch.randn(7, 5, dtype=dtype)
    return KanConv2d(3, 4, basis=basis).to(dtype), 2 * torch.randn(5, 3, 6, 4, dtype=dtype)


def test_these_inputs_come_in_several_chunks_of_which_the_last_is_shorter(chunked: None) -> None:
    assert [len(part) for part in contraction._chunks(torch.zeros(7, 5), 9)] == [2, 2, 2, 1]


@every_basis
def test_without_the_base_branch_and_a_bias(basis: str, chunked: None) -> None:
    torch.manual_seed(0)
    layer, x = KanLinear(5, 4, basis, base=False, bias=False).double(), torch.randn(7, 5, dtype=torch.float64)
    x.requires_grad_()
    wanted = functional.linear(layer.basis(x, -2).flatten(-2), layer.linear.weight)
    torch.testing.assert_close(layer(x), wanted)
    inputs = [x, *layer.parameters()]
    found = torch.autograd.grad(layer(x).sin().sum(), inputs)
    torch.testing.assert_close(found, torch.autograd.grad(wanted.sin().sum(), inputs))


@pytest.mark.parametrize("limit", [1, 10**9])
@both
def test_first_and_second_derivatives_are_finite_differences(
    kind: str, limit: int, chunked: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contraction, "KEPT", limit)
    layer, x = built(kind, {"rbf": {"centres": 3}})
    point = (x[:2, :, :2, :2] if kind == "conv" else x[:3]).clone().requires_grad_()
    assert torch.autograd.gradcheck(layer, (point,)) and torch.autograd.gradgradcheck(layer, (point,))


@both
@every_basis
def test_gradients_under_autocast_are_near_those_of_single_precision(kind: str, basis: str, chunked: None) -> None:
    layer, x = built(kind, basis, torch.float32)
    inputs = [x.requires_grad_(), *layer.parameters()]
    wanted = torch.autograd.grad(layer(x).square().sum(), inputs)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
        found = torch.autograd.grad(y.float().square().sum(), inputs)
    assert y.dtype == torch.bfloat16
    for got, gradient in zip(found, wanted, strict=True):
        assert got.dtype == torch.float32 and (got - gradient).norm() <= 0.03 * gradient.norm() + 1e-3


def test_autocast_leaves_double_precision_alone_as_it_does_in_torch() -> None:
    layer, x = built("linear", "bspline")
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == nn.Linear(5, 4).double()(x).dtype == torch.float64


@both
def test_half_precision_sums_many_chunks_without_losing_digits(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layer: nn.Module = KanLinear(4, 3) if kind == "linear" else KanConv2d(4, 3, kernel=1, basis="bspline")
    x = torch.randn((4096, 4) if kind == "linear" else (256, 4, 4, 4)).bfloat16()
    layer.bfloat16()
    weight = next(layer.parameters())

    def gradient() -> Tensor:
        return torch.autograd.grad(layer(x).float().square().sum(), weight)[0].double()

    whole = gradient()
    monkeypatch.setattr(contraction, "KEPT", 1)
    monkeypatch.setattr(contraction, "CHUNK", {"cpu": 9 * x.numel() // 64})
    assert len(contraction._chunks(x, 9)) == 64
    assert (gradient() - whole).norm() < 0.004 * whole.norm()


@both
@pytest.mark.parametrize("basis", ["bspline", "chebyshev", "wavelet", FINE], ids=str)
def test_torch_func_over_the_weights_alone(kind: str, basis: Any) -> None:
    """The inputs are plain tensors then: the transform is to be seen in the weights only."""
    layer, x = built(kind, basis)
    weights = {name: weight.detach() for name, weight in layer.named_parameters()}

    def loss(weights: dict[str, Tensor]) -> Tensor:
        y: Tensor = functional_call(layer, weights, (x,))
        return y.sin().sum()

    wanted = torch.autograd.grad(layer(x).sin().sum(), list(layer.parameters()))
    torch.testing.assert_close(list(grad(loss)(weights).values()), list(wanted))
    ensemble = vmap(loss)({name: torch.stack([weight, 2 * weight]) for name, weight in weights.items()})
    torch.testing.assert_close(ensemble[0], layer(x).sin().sum())


@both
@pytest.mark.parametrize("autocast", [False, True])
def test_functions_that_are_looked_up_in_half_precision(kind: str, autocast: bool) -> None:
    layer, x = built(kind, FINE, torch.float32)
    exact = layer(x).detach()
    point = (x if autocast else x.bfloat16()).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = (layer if autocast else layer.bfloat16())(point)
    y.float().square().sum().backward()
    assert y.dtype == torch.bfloat16 and (y.float() - exact).abs().mean() < 0.02 * exact.abs().mean()
    for parameter in (point, *layer.parameters()):
        assert parameter.grad is not None and parameter.grad.isfinite().all()


@both
def test_functions_are_looked_up_in_eager_mode_alone(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler gets the plain formula, and a grid of uneven knots is never looked up."""
    layer, x = built(kind, FINE)
    y = layer(x)
    monkeypatch.setattr(contraction, "_contract_locally", None)
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(layer, fullgraph=True, backend="aot_eager")(x), y)
    torch.testing.assert_close(torch.export.export(layer, (x,)).module()(x), y)
    uneven, x = built(kind, {"bspline": {"intervals": 80, "grid": "quantile"}})
    assert uneven(x).isfinite().all()


@both
def test_the_derivative_of_an_input_that_needs_none_is_not_asked_for(kind: str, chunked: None) -> None:
    layer, x = built(kind, "bspline")
    layer(x).sin().sum().backward()
    found = [parameter.grad for parameter in layer.parameters()]
    wanted = torch.autograd.grad(layer(x.requires_grad_()).sin().sum(), list(layer.parameters()))
    torch.testing.assert_close(found, list(wanted))
    frozen = layer.requires_grad_(False)
    (slope,) = torch.autograd.grad(frozen(x).sin().sum(), x)
    assert slope.shape == x.shape and not frozen(x.detach()).requires_grad


@both
def test_gradients_through_checkpoints_and_two_backward_passes_are_the_same(kind: str) -> None:
    layer, x = built(kind, "rbf")
    x.requires_grad_()
    (wanted,) = torch.autograd.grad(layer(x).sin().sum(), x)
    again = torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False)
    torch.testing.assert_close(torch.autograd.grad(again.sin().sum(), x)[0], wanted)
    loss = layer(x).sin().sum()
    for _ in range(2):
        torch.testing.assert_close(torch.autograd.grad(loss, x, retain_graph=True)[0], wanted)
