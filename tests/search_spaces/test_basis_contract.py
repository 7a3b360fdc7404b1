"""What KAN layers ask of every registered basis, beside the contract of all components; plug-ins included."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from search_spaces.registry import Entry, entries

BASES = entries("basis")
every_basis = pytest.mark.parametrize("entry", BASES.values(), ids=BASES)
every_fixed_basis = pytest.mark.parametrize(
    "entry", [entry for entry in BASES.values() if hasattr(entry.make(), "slopes")], ids=lambda entry: entry.name
)
EXTREMES = torch.tensor([-1e4, -30.0, -2.0, -0.0, 0.0, 1e-6, 2.0, 30.0, 1e4])


class Slopes(nn.Module):
    def __init__(self, basis: Any) -> None:
        super().__init__()
        self.basis = basis

    def forward(self, x: Tensor) -> Tensor:
        slopes: Tensor = self.basis.slopes(x, dim=1)
        return slopes


def made(entry: Entry, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return entry.make()


@every_basis
def test_a_basis_has_slopes_if_and_only_if_nothing_in_it_is_trained(entry: Entry) -> None:
    basis = made(entry)
    assert hasattr(basis, "slopes") == (not list(basis.parameters()))


@every_fixed_basis
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_slopes_are_the_derivatives_of_forward(entry: Entry, dtype: torch.dtype) -> None:
    basis, x = made(entry).to(dtype), (2 * torch.randn(50, dtype=dtype)).requires_grad_()
    columns = [column for column in (basis(x) + 0 * x[:, None]).unbind(-1)]
    wanted = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in columns]
    torch.testing.assert_close(basis.slopes(x), torch.stack(wanted, -1), rtol=1e-4, atol=1e-5)
    if hasattr(basis, "with_slopes"):
        values, slopes = basis.with_slopes(x, -1)
        torch.testing.assert_close((values, slopes), (basis(x), basis.slopes(x)))


@every_fixed_basis
def test_slopes_can_be_differentiated(entry: Entry) -> None:
    x = torch.linspace(-1.93, 1.87, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(made(entry).double().slopes, (x,))


@every_fixed_basis
def test_slopes_can_be_mapped_traced_and_exported(entry: Entry) -> None:
    slopes, x = Slopes(made(entry)), torch.randn(3, 4)
    alone = vmap(grad(lambda sample: slopes(sample[None]).sin().sum()))(x)
    x.requires_grad_()
    (together,) = torch.autograd.grad(slopes(x).sin().sum(), x)
    torch.testing.assert_close(alone, together)
    torch.compiler.reset()
    traced = torch.compile(slopes, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(torch.autograd.grad(traced(x).sin().sum(), x)[0], together)
    x = x.detach()
    torch.testing.assert_close(torch.export.export(slopes, (x,)).module()(x), slopes(x))


@every_basis
@pytest.mark.parametrize("dim", [0, 1, 2, -1, -2])
def test_the_functions_are_stacked_at_the_dimension_asked_for(entry: Entry, dim: int) -> None:
    basis, x = made(entry), torch.randn(2, 3, 4)
    torch.testing.assert_close(basis(x, dim=dim), basis(x).movedim(-1, dim))
    if hasattr(basis, "slopes"):
        torch.testing.assert_close(basis.slopes(x, dim=dim), basis.slopes(x).movedim(-1, dim))


@every_basis
def test_all_that_is_learned_or_placed_is_in_the_state(entry: Entry) -> None:
    basis, other, x = made(entry, 0), made(entry, 1), torch.randn(40)
    with torch.no_grad():
        for tensor in [*other.parameters(), *other.buffers()]:
            tensor.zero_()
    other.load_state_dict(basis.state_dict())
    assert torch.equal(basis(x), other(x))


@every_basis
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_values_and_gradients_are_finite_far_out_and_at_zero(entry: Entry, dtype: torch.dtype) -> None:
    basis, x = made(entry), EXTREMES.to(dtype, copy=True).requires_grad_()
    y = basis(x)
    assert y.dtype == dtype and y.isfinite().all()
    y.float().sin().sum().backward()
    for gradient in [x.grad, *(parameter.grad for parameter in basis.parameters())]:
        assert gradient is not None and gradient.isfinite().all()
    if hasattr(basis, "slopes"):
        assert basis.slopes(x).dtype == dtype and basis.slopes(x).isfinite().all()


@every_basis
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_worked_out_in_single(entry: Entry, dtype: torch.dtype) -> None:
    basis, x = made(entry), (2 * torch.randn(200)).to(dtype)
    torch.testing.assert_close(basis(x), basis(x.float()).to(dtype))
    if hasattr(basis, "slopes"):
        torch.testing.assert_close(basis.slopes(x), basis.slopes(x.float()).to(dtype))


@every_basis
def test_no_value_depends_on_another_input(entry: Entry) -> None:
    basis, x = made(entry), torch.randn(4, 6)
    others = torch.cat([x[:1, :3], torch.full((1, 3), 50.0)], 1), torch.full((3, 6), -70.0)
    torch.testing.assert_close(basis(torch.cat(others))[0, :3], basis(x)[0, :3])


@every_basis
def test_the_functions_differ_and_are_of_order_one_for_normal_inputs(entry: Entry) -> None:
    """Layers divide by these second moments, and a function that is there twice would be of no use."""
    basis, x = made(entry), torch.randn(20_000, generator=torch.Generator().manual_seed(0))
    values = basis(x).detach().double()
    moments = values.square().mean(0)
    assert moments.min() > 0.0002 and moments.max() < 50
    similarity = values.T @ values / len(x) / (moments[:, None] * moments).sqrt()
    assert (similarity - torch.eye(basis.count)).abs().max() < 0.999


@pytest.mark.slow
@every_basis
def test_onnx_takes_standard_operators_alone(entry: Entry) -> None:
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    basis, x = made(entry).eval(), EXTREMES.repeat(2, 1)
    model = torch.onnx.export(basis, (x,), dynamo=True, verbose=False).model_proto
    assert not model.functions and {node.domain for node in model.graph.node} == {""}
    session = runtime.InferenceSession(model.SerializeToString())
    (values,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(values), basis(x).detach(), rtol=1e-5, atol=1e-5)
