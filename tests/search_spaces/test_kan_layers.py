from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline as SciPySpline
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional

from search_spaces.bases.bspline import BSpline
from search_spaces.layers import contraction
from search_spaces.layers.kan import KanConv2d, KanLinear, kan_bottleneck_conv2d, kan_linear
from search_spaces.registry import entries, make

BASES = list(entries("basis"))
FIXED = [name for name, entry in entries("basis").items() if not list(entry.make().parameters())]
MAKERS: dict[str, tuple[Callable[..., nn.Module], tuple[int, ...]]] = {
    "linear": (lambda basis: KanLinear(5, 4, basis), (7, 5)),
    "conv": (lambda basis: KanConv2d(3, 4, basis=basis), (5, 3, 6, 4)),
}
every_basis = pytest.mark.parametrize("basis", BASES)
both = pytest.mark.parametrize("kind", MAKERS)


def built(kind: str, basis: Any, dtype: torch.dtype = torch.float64) -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    maker, shape = MAKERS[kind]
    return maker(basis).to(dtype), 2 * torch.randn(shape, dtype=dtype)


def plain(layer: nn.Module, x: Tensor) -> Tensor:
    """Contract as the class says, with torch's own operators and autograd."""
    inner: Any = layer.linear if isinstance(layer, KanLinear) else layer.convolution
    if isinstance(layer, KanLinear):
        return functional.linear(torch.cat([functional.silu(x), layer.basis(x, -2).flatten(-2)], -1), inner.weight) + (
            inner.bias
        )
    expanded = torch.cat([functional.silu(x), layer.basis(x, 1).flatten(1, 2)], 1)
    return functional.conv2d(expanded, inner.weight, inner.bias, padding=inner.kernel_size[0] // 2)


def slopes(y: Tensor, layer: nn.Module, x: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(y.sin().sum(), [x, *layer.parameters()])


@pytest.fixture(params=["kept", "chunked"])
def small_tiles(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Make tiles and chunks so small that these layers have several of them, the last one shorter."""
    monkeypatch.setattr(contraction, "TILE", 60)
    monkeypatch.setattr(contraction, "KEPT", 10**9 if request.param == "kept" else 1)
    monkeypatch.setattr(contraction, "CHUNK", {"cpu": 70})
    return


def test_kan_linear_is_a_sum_of_learned_functions_of_each_input() -> None:
    torch.manual_seed(0)
    layer = KanLinear(3, 2, {"bspline": {"intervals": 4, "order": 2, "grid": "uniform"}}).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    weight = layer.linear.weight.detach().view(2, 1 + 6, 3)
    knots = -2 + np.arange(-2, 7)
    splines = [SciPySpline.basis_element(knots[j : j + 4], extrapolate=False) for j in range(6)]
    wanted = torch.zeros(5, 2, dtype=torch.float64)
    for n in range(5):
        for o in range(2):
            for i in range(3):
                value = float(x[n, i])
                functions = [value / (1 + np.exp(-value)), *(np.nan_to_num(spline(value)) for spline in splines)]
                wanted[n, o] += sum(float(weight[o, j, i]) * float(f) for j, f in enumerate(functions))
    torch.testing.assert_close(layer(x).detach(), wanted)


def test_kan_conv2d_is_a_sum_of_learned_functions_over_patches() -> None:
    torch.manual_seed(0)
    centres, side = 4, 4
    layer = KanConv2d(2, 3, kernel=3, basis={"rbf": {"centres": centres}}).double()
    x = torch.randn(1, 2, side, side, dtype=torch.float64)
    weight = layer.convolution.weight.detach().view(3, 1 + centres, 2, 3, 3).numpy()
    grid = np.array([-2 + 4 * j / (centres - 1) for j in range(centres)])

    def function(i: int, u: int, v: int, value: float) -> Any:
        functions = [value / (1 + np.exp(-value)), *np.exp(-(((value - grid) / (4 / 3)) ** 2))]
        return weight[:, :, i, u, v] @ np.array(functions)

    wanted = np.zeros((3, side, side))
    for row, column, u, v in np.ndindex(side, side, 3, 3):
        r, c = row + u - 1, column + v - 1
        if 0 <= r < side and 0 <= c < side:
            wanted[:, row, column] += sum(function(i, u, v, float(x[0, i, r, c])) for i in range(2))
    np.testing.assert_allclose(layer(x)[0].detach(), wanted, atol=1e-12)


@both
@every_basis
def test_values_and_gradients_are_those_of_the_plain_formula(kind: str, basis: str, small_tiles: None) -> None:
    layer, x = built(kind, basis)
    x.requires_grad_()
    y, wanted = layer(x), plain(layer, x)
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(slopes(y, layer, x), slopes(wanted, layer, x))


@pytest.mark.parametrize("shape", [(5,), (0, 5), (2, 3, 5), (1, 1, 1, 5)])
def test_kan_linear_takes_any_leading_dimensions(shape: tuple[int, ...]) -> None:
    layer = KanLinear(5, 4).double()
    x = torch.randn(shape, dtype=torch.float64)
    y = layer(x)
    assert y.shape == (*shape[:-1], 4)
    torch.testing.assert_close(y.reshape(-1, 4), plain(layer, x.reshape(-1, 5)))


def test_empty_batches_of_maps() -> None:
    x = torch.randn(0, 3, 6, 4, requires_grad=True)
    y = KanConv2d(3, 4)(x)
    y.sum().backward()
    assert y.shape == (0, 4, 6, 4) and x.grad is not None


@both
@pytest.mark.parametrize("basis", FIXED)
def test_second_derivatives(kind: str, basis: str, small_tiles: None) -> None:
    layer, x = built(kind, basis)
    point = (x[:1] / 3).requires_grad_()
    weight = next(layer.parameters())

    def through(y: Tensor) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(y.sin().sum(), [point, weight], create_graph=True)
        return torch.autograd.grad(sum(each.square().sum() for each in first), [point, weight])

    torch.testing.assert_close(through(layer(point)), through(plain(layer, point)))


@both
def test_inputs_of_other_strides_and_frozen_weights(kind: str) -> None:
    layer, x = built(kind, "bspline")
    turned = x.transpose(0, -1).contiguous().transpose(0, -1).requires_grad_()
    layer.requires_grad_(False)
    torch.testing.assert_close(
        torch.autograd.grad(layer(turned).sin().sum(), turned),
        torch.autograd.grad(plain(layer, turned).sin().sum(), turned),
    )
    layer.requires_grad_(True)
    layer(x).sum().backward()
    assert all(parameter.grad is not None for parameter in layer.parameters())
    with torch.no_grad():
        torch.testing.assert_close(layer(x), plain(layer, x))


@both
@pytest.mark.parametrize("autocast", [False, True])
def test_bfloat16(kind: str, autocast: bool) -> None:
    layer, x = built(kind, "bspline", torch.float32)
    exact = layer(x).detach()
    point = (x if autocast else x.bfloat16()).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = (layer if autocast else layer.bfloat16())(point)
    y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert (y.float() - exact).abs().mean() < 0.02 * exact.abs().mean()
    for parameter in (point, *layer.parameters()):
        assert parameter.grad is not None and parameter.grad.dtype == parameter.dtype
        assert parameter.grad.isfinite().all()


@both
@pytest.mark.parametrize("basis", FIXED)
def test_nothing_is_kept_but_the_input_and_a_small_expansion(
    kind: str, basis: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = built(kind, basis)
    x.requires_grad_()
    for limit, expansions in ((10**9, 1), (1, 0)):
        monkeypatch.setattr(contraction, "KEPT", limit)
        kept: list[int] = []

        def note(tensor: Tensor, kept: list[int] = kept) -> Tensor:
            kept.append(tensor.numel())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            layer(x)
        weight = next(layer.parameters()).numel()
        assert sorted(kept) == sorted([x.numel(), weight, *[x.numel() * layer.basis.count] * expansions])  # type: ignore[operator, union-attr]


@both
@every_basis
def test_gradients_of_each_sample(kind: str, basis: str) -> None:
    layer, x = built(kind, basis)
    weights = dict(layer.named_parameters())

    def loss(weights: dict[str, Tensor], sample: Tensor) -> Tensor:
        y: Tensor = functional_call(layer, weights, (sample[None],))
        return y.sin().sum()

    each = vmap(grad(loss), (None, 0))(weights, x)
    total = torch.autograd.grad(layer(x).sin().sum(), list(weights.values()))
    torch.testing.assert_close([each[name].sum(0) for name in weights], list(total))


@both
@every_basis
def test_one_graph_for_the_compiler(kind: str, basis: str) -> None:
    layer, x = built(kind, basis)
    x.requires_grad_()
    torch.compiler.reset()
    y = torch.compile(layer, fullgraph=True, backend="aot_eager")(x)
    torch.testing.assert_close(slopes(y, layer, x), slopes(layer(x), layer, x))


@pytest.mark.slow
@both
def test_compiled_code(kind: str) -> None:
    layer, x = built(kind, "bspline", torch.float32)
    x.requires_grad_()
    torch.compiler.reset()
    y = torch.compile(layer, fullgraph=True)(x)
    torch.testing.assert_close(y, layer(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(slopes(y, layer, x), slopes(layer(x), layer, x), rtol=1e-4, atol=1e-5)


@both
@every_basis
def test_export_with_any_batch_size(kind: str, basis: str) -> None:
    layer, x = built(kind, basis, torch.float32)
    exported = torch.export.export(layer.eval(), (x,), dynamic_shapes=({0: torch.export.Dim.AUTO},))
    for sample in (x, x[:3]):
        torch.testing.assert_close(exported.module()(sample), layer(sample))


@pytest.mark.slow
@both
@every_basis
def test_onnx_has_standard_operators_alone(kind: str, basis: str) -> None:
    import onnxruntime

    layer, x = built(kind, basis, torch.float32)
    made = torch.onnx.export(layer.eval(), (x,), dynamo=True, opset_version=18, verbose=False)
    assert made is not None and not made.model_proto.functions
    assert {node.domain for node in made.model_proto.graph.node} == {""}
    session = onnxruntime.InferenceSession(made.model_proto.SerializeToString())
    (got,) = session.run(None, {session.get_inputs()[0].name: x.numpy()})
    np.testing.assert_allclose(got, layer(x).detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kernel", [1, 3, 5])
@pytest.mark.parametrize("order", [1, 3])
def test_a_fine_grid_looks_up_what_is_not_zero(kernel: int, order: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    layers: list[tuple[nn.Module, Tensor]] = [
        (KanConv2d(3, 4, kernel=kernel, basis=BSpline(64, order)).double(), torch.randn(2, 3, 6, 5).double() * 2),
        (KanLinear(3, 4, BSpline(64, order)).double(), torch.randn(2, 4, 3).double() * 2),
        (KanLinear(3, 4, BSpline(64, order), base=False, bias=False).double(), torch.randn(3).double() * 2),
    ]
    taken = []
    looked_up = contraction._contract_locally
    monkeypatch.setattr(contraction, "_contract_locally", lambda *args: taken.append(1) or looked_up(*args))
    for layer, x in layers:
        x.requires_grad_()
        y = layer(x)
        layer.basis.prefers_local = False  # type: ignore[union-attr]
        torch.testing.assert_close(y, layer(x))
        torch.testing.assert_close(slopes(y, layer, x), slopes(layer(x), layer, x))
    assert len(taken) == len(layers)


@pytest.mark.parametrize(
    ("layers", "options"), [(6, {}), (20, {"noise": 0.5}), (20, {"base": False})], ids=["usual", "noisy", "alone"]
)
@every_basis
def test_a_stack_keeps_the_variance(basis: str, layers: int, options: dict[str, Any]) -> None:
    """With little noise it is silu that carries the signal, and what a layer is off by grows (see `kan`)."""
    torch.manual_seed(0)
    x = torch.randn(256, 384)
    moments = []
    with torch.no_grad():
        for _ in range(layers):
            x = KanLinear(384, 384, basis, **options)(x)
            moments.append(x.square().mean().item())
    assert 0.8 < moments[0] < 1.25
    assert all(0.5 < moment < 2 for moment in moments), moments


@pytest.mark.parametrize("basis", ["bspline", "rbf", "chebyshev"])
@pytest.mark.parametrize("maker", [KanConv2d, kan_linear, kan_bottleneck_conv2d])
def test_convolutions_keep_the_variance_of_normal_inputs(maker: Callable[..., nn.Module], basis: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64, 16, 16)
    variance = maker(64, 64, 1.0, basis=basis)(x)[..., 1:-1, 1:-1].var().item()
    assert 0.6 < variance < 1.5


def test_kan_linear_over_maps_is_kan_linear_at_each_place() -> None:
    torch.manual_seed(0)
    maps, x = kan_linear(4, 3, basis="rbf"), torch.randn(2, 4, 5, 6)
    vectors = KanLinear(4, 3, "rbf")
    (weight,) = (m.weight for m in maps.modules() if isinstance(m, nn.Conv2d))
    vectors.linear.weight.data.copy_(weight[..., 0, 0])
    torch.testing.assert_close(maps(x), vectors(x.movedim(1, -1)).movedim(-1, 1))


@pytest.mark.parametrize(("channels", "reduction", "inside"), [(16, 4, 4), (16, 2, 8), (3, 4, 1)])
def test_the_bottleneck_is_narrower_inside(channels: int, reduction: int, inside: int) -> None:
    layer = kan_bottleneck_conv2d(channels, channels, reduction=reduction)
    (kan,) = (m for m in layer.modules() if isinstance(m, KanConv2d))
    assert kan.convolution.out_channels == inside


def test_a_basis_may_be_a_module() -> None:
    basis = make("basis", {"fourier": {"frequencies": 2}})
    assert KanLinear(2, 3, basis).linear.in_features == 2 * 5


@pytest.mark.parametrize("noise", [0.1, 0.5])
@pytest.mark.parametrize("basis", ["bspline", "hermite"])
def test_the_basis_makes_the_share_of_the_variance_that_the_noise_says(basis: str, noise: float) -> None:
    torch.manual_seed(0)
    layer, x = KanLinear(64, 512, basis, noise=noise), torch.randn(2048, 64)
    added = layer(x) - functional.linear(functional.silu(x), layer.linear.weight[:, :64])
    assert added.square().mean().item() == pytest.approx(noise**2, rel=0.1)
    assert layer.linear.bias.abs().max() == 0


@pytest.mark.parametrize("maker", [KanLinear, KanConv2d])
@pytest.mark.parametrize("noise", [-0.1, 1.5])
def test_more_noise_than_there_is_variance_is_refused(maker: Callable[..., nn.Module], noise: float) -> None:
    with pytest.raises(ValueError, match=f"noise is {noise}, but 0 to 1 is allowed"):
        maker(2, 2, noise=noise)
