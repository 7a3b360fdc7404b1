"""group_rational, the reference and the Triton kernel alike, against its formula in NumPy's float64."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from kernels.choice import INSTALLED, VARIABLE
from kernels.group_rational import group_rational, reference, tiles

Test = TypeVar("Test", bound=Callable[..., None])
GPU = torch.cuda.is_available()
SHAPES = [  # shape, dim of the channels, groups: rows x groups x inner
    ((5, 7, 24), -1, 3),  # 35 x 3 x 8
    ((2, 33, 192), -1, 2),  # 66 x 2 x 96, more rows than a tile
    ((2, 12, 3, 3), 1, 4),  # 2 x 4 x 27, odd
    ((3, 16, 4, 4), 1, 2),  # 3 x 2 x 128
    ((37, 10), 1, 10),  # 37 x 10 x 1
    ((1, 35), 1, 1),  # 1 x 1 x 35
]

triton_only = pytest.mark.skipif(not INSTALLED, reason="Triton is not installed")
gpu_only = pytest.mark.skipif(not GPU, reason="no CUDA device")
FORMS = [
    pytest.param("reference", "cpu", id="reference"),
    pytest.param(
        "triton", "cpu", id="interpreted", marks=[triton_only, pytest.mark.skipif(GPU, reason="runs on the GPU")]
    ),
    pytest.param("reference", "cuda", id="reference-gpu", marks=gpu_only),
    pytest.param("triton", "cuda", id="triton-gpu", marks=[triton_only, gpu_only]),
]


def in_every_form(test: Test) -> Test:
    return pytest.mark.usefixtures("form")(pytest.mark.parametrize(("form", "device"), FORMS, indirect=["form"])(test))


@pytest.fixture
def form(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv(VARIABLE, request.param)
    asked: str = request.param
    return asked


def formula(g: Any, x: Any, a: Any, b: Any, dim: int) -> list[Any]:
    """Return r, dx, da and db in float64; g is the gradient of r."""
    g, x, a, b = (np.asarray(each.detach().cpu().double()) for each in (g, x, a, b))
    groups, width = len(a), x.shape[dim] // len(a)
    size = np.abs(x)

    def spread(c: Any) -> Any:  # [groups] to the channels of x
        shape = [1] * x.ndim
        shape[dim] = -1
        return np.repeat(c, width).reshape(shape)

    def gathered(values: Any) -> Any:
        return np.moveaxis(values, dim, 0).reshape(groups, -1).sum(1)

    p = sum(spread(a[:, i]) * x**i for i in range(6))
    q = 1 + sum(spread(abs(b[:, i - 1])) * size**i for i in range(1, 5))
    p_slope = sum(i * spread(a[:, i]) * x ** (i - 1) for i in range(1, 6))
    q_slope = np.sign(x) * sum(i * spread(abs(b[:, i - 1])) * size ** (i - 1) for i in range(1, 5))
    return [
        p / q,
        g * (p_slope * q - p * q_slope) / q**2,
        np.stack([gathered(g * x**i / q) for i in range(6)], 1),
        np.stack([gathered(-g * p * size**i / q**2) for i in range(1, 5)], 1) * np.sign(b),
    ]


def drawn(shape: tuple[int, ...], groups: int, device: str, dtype: torch.dtype = torch.float32) -> list[Tensor]:
    """Draw g, x and the coefficients."""
    torch.manual_seed(0)
    g, x = torch.randn(shape), 2 * torch.randn(shape)
    a, b = torch.randn(groups, 6), torch.randn(groups, 4)
    return [each.to(device, kind) for each, kind in ((g, dtype), (x, dtype), (a, torch.float32), (b, torch.float32))]


def results(g: Tensor, x: Tensor, a: Tensor, b: Tensor, dim: int) -> list[Tensor]:
    leaves = [each.detach().requires_grad_() for each in (x, a, b)]
    y = group_rational(*leaves, dim)
    return [y, *torch.autograd.grad(y, leaves, g)]


def distance(got: Tensor, wanted: Any) -> float:
    """Return the largest error as a share of the largest value."""
    return float(np.abs(got.detach().cpu().double().numpy() - wanted).max() / np.abs(wanted).max())


@in_every_form
@pytest.mark.parametrize(("shape", "dim", "groups"), SHAPES)
def test_values_and_gradients_are_the_formula(device: str, shape: tuple[int, ...], dim: int, groups: int) -> None:
    drawing = drawn(shape, groups, device)
    got, wanted = results(*drawing, dim), formula(*drawing, dim)
    for each, exact, bound in zip(got, wanted, (1e-6, 1e-6, 1e-5, 1e-5), strict=True):
        assert each.dtype == torch.float32 and tuple(each.shape) == exact.shape
        assert distance(each, exact) < bound


@in_every_form
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(device: str, dtype: torch.dtype) -> None:
    drawing = drawn((5, 7, 32), 2, device, dtype)
    got, wanted = results(*drawing, -1), formula(*drawing, -1)
    assert [each.dtype for each in got] == [dtype, dtype, torch.float32, torch.float32]
    for each, exact, bound in zip(got, wanted, (1e-2, 1e-2, 1e-5, 1e-5), strict=True):
        assert distance(each, exact) < bound


@in_every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_zero_and_large_inputs(device: str, dtype: torch.dtype) -> None:
    x = torch.tensor([[0.0, -0.0, 1e4, -1e4, 9.3, -9.3, 60.0, -60.0]], dtype=dtype, device=device)
    a = torch.tensor([[0.1, 0.5, 0.25, 0.05, 0.006, 2e-4]], device=device)
    b = torch.tensor([[0.7, -0.1, 0.0, 5e-4]], device=device)
    g = torch.ones_like(x)
    got, wanted = results(g, x, a, b, 1), formula(g, x, a, b, 1)
    for each, exact in zip(got, wanted, strict=True):
        np.testing.assert_allclose(each.detach().cpu().double(), exact, rtol=1e-2 if each.dtype == dtype else 2e-5)
    assert got[1][0, :2].tolist() == [0.5, 0.5], "the slope at 0 is a_1, since sign(0) is 0" if dtype else ""
    assert got[3][0, 2] == 0 and got[3][0, 1] * formula(g, x, a, b.abs(), 1)[3][0, 1] < 0


@in_every_form
def test_non_contiguous_inputs_and_gradients(device: str) -> None:
    g, x, a, b = drawn((2, 6, 5, 4), 3, device)
    wanted = results(g, x, a, b, 1)
    for view in (x.to(memory_format=torch.channels_last), x.mT.contiguous().mT, x.repeat(1, 1, 1, 2)[..., :4]):
        assert not view.is_contiguous()
        for each, expected in zip(results(g.mT.contiguous().mT, view, a, b, 1), wanted, strict=True):
            torch.testing.assert_close(each, expected)
    last = x.to(memory_format=torch.channels_last)
    assert group_rational(last, a, b, 1).is_contiguous(memory_format=torch.channels_last)
    everywhere_one = torch.ones((), device=device).expand(x.shape)
    for each, expected in zip(
        results(everywhere_one, x, a, b, 1), results(torch.ones_like(x), x, a, b, 1), strict=True
    ):
        torch.testing.assert_close(each, expected)


@in_every_form
@pytest.mark.parametrize("shape", [(0, 6), (0, 6, 4), (3, 6, 0)])
def test_no_values_give_gradients_of_zero(device: str, shape: tuple[int, ...]) -> None:
    y, x_slope, a_slope, b_slope = results(*drawn(shape, 3, device), 1)
    assert y.shape == x_slope.shape == shape
    assert tuple(a_slope.shape) == (3, 6) and tuple(b_slope.shape) == (3, 4)
    assert not a_slope.any() and not b_slope.any()


@in_every_form
def test_two_runs_are_equal_bit_by_bit(device: str) -> None:
    drawing = drawn((64, 9, 32), 2, device)
    for first, second in zip(results(*drawing, -1), results(*drawing, -1), strict=True):
        assert torch.equal(first, second)


@in_every_form
def test_only_x_and_the_coefficients_are_kept_for_the_backward_pass(device: str) -> None:
    _, x, a, b = drawn((4, 16, 24), 3, device, torch.bfloat16)
    leaves, kept = [each.requires_grad_() for each in (x, a, b)], {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        group_rational(*leaves)
    assert sum(kept.values()) == sum(each.untyped_storage().nbytes() for each in leaves)


@in_every_form
def test_first_and_second_derivatives_in_float64(device: str) -> None:
    inputs = tuple(each.double().requires_grad_() for each in drawn((2, 3), 1, device)[1:])

    def mapped(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return group_rational(x, a, b, 1)

    assert gradcheck(mapped, inputs)
    assert gradgradcheck(mapped, inputs)


@in_every_form
def test_gradients_of_each_sample(device: str) -> None:
    _, x, a, b = drawn((3, 2, 6, 5), 2, device)

    def loss(x: Tensor, a: Tensor, b: Tensor) -> Tensor:
        return group_rational(x, a, b, 1).sin().sum()

    for in_dims in ((0, None, None), (0, 0, None), (None, 0, 0), (1, None, 1)):
        coefficients = [
            each if dim is None else torch.stack([each, -each, each + 1], dim)
            for each, dim in zip((a, b), in_dims[1:], strict=True)
        ]
        samples = x.movedim(0, in_dims[0]) if in_dims[0] is not None else x[0]
        inputs = (samples, *coefficients)
        got = vmap(grad(loss, (0, 1, 2)), in_dims)(*inputs)
        for i in range(3):
            one = [each if dim is None else each.select(dim, i) for each, dim in zip(inputs, in_dims, strict=True)]
            for slope, wanted in zip(got, grad(loss, (0, 1, 2))(*one), strict=True):
                torch.testing.assert_close(slope[i], wanted, rtol=1e-4, atol=1e-5)


@in_every_form
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_leaves_the_dtype_alone(device: str, dtype: torch.dtype) -> None:
    drawing = drawn((3, 4, 16), 2, device, dtype)
    with torch.autocast(device, torch.bfloat16):
        got = results(*drawing, -1)
    for each, expected in zip(got, results(*drawing, -1), strict=True):
        assert each.dtype == expected.dtype and torch.equal(each, expected)


@in_every_form
def test_activation_checkpoints(device: str) -> None:
    g, *leaves = drawn((3, 4, 16), 2, device)
    leaves = [each.requires_grad_() for each in leaves]
    y = checkpoint(group_rational, *leaves, use_reentrant=False)
    for each, expected in zip(torch.autograd.grad(y, leaves, g), results(g, *leaves, -1)[1:], strict=True):
        assert torch.equal(each, expected)


@in_every_form
@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_compiled_in_one_graph(device: str, backend: str) -> None:
    g, *leaves = drawn((6, 4, 64), 2, device)
    leaves = [each.requires_grad_() for each in leaves]
    torch.compiler.reset()
    y = torch.compile(group_rational, fullgraph=True, backend=backend)(*leaves)
    for each, expected in zip([y, *torch.autograd.grad(y, leaves, g)], results(g, *leaves, -1), strict=True):
        torch.testing.assert_close(each, expected, rtol=1e-5, atol=1e-5)


@in_every_form
def test_what_is_exported_is_the_reference_for_any_batch(device: str) -> None:
    class Layer(torch.nn.Module):
        def __init__(self, a: Tensor, b: Tensor) -> None:
            super().__init__()
            self.a, self.b = torch.nn.Parameter(a), torch.nn.Parameter(b)

        def forward(self, x: Tensor) -> Tensor:
            return group_rational(x, self.a, self.b, 1)

    _, x, a, b = drawn((3, 4, 5), 2, device)
    layer = Layer(a, b)
    exported = torch.export.export(layer, (x,), dynamic_shapes=({0: torch.export.Dim("batch", min=2)},))
    assert not any("nas" in str(node.target) for node in exported.graph.nodes)
    for batch in (3, 7):
        more = torch.randn(batch, 4, 5, device=device)
        torch.testing.assert_close(exported.module()(more), layer(more))


@pytest.mark.parametrize("inner", [1, 8, 96, 5000])
def test_tiles_give_what_one_expression_gives(monkeypatch: pytest.MonkeyPatch, inner: int) -> None:
    monkeypatch.setattr(tiles, "TILE", 1024)
    g, x, a, b = drawn((40, 3, inner), 3, "cpu", torch.float64)
    torch.testing.assert_close(tiles.value(x, a, b), reference.value(x, a, b))
    for each, expected in zip(tiles.gradients(g, x, a, b), reference.gradients(g, x, a, b), strict=True):
        torch.testing.assert_close(each, expected)


def test_coefficients_of_another_shape_are_refused() -> None:
    x = torch.randn(2, 12)
    with pytest.raises(ValueError, match="8 groups do not divide 12 channels"):
        group_rational(x, torch.ones(8, 6), torch.ones(8, 4))
    with pytest.raises(ValueError, match=r"\(4, 5\) and \(4, 4\), but \(groups, 6\) and \(groups, 4\) is allowed"):
        group_rational(x, torch.ones(4, 5), torch.ones(4, 4))
    with pytest.raises(ValueError, match=r"\(4, 6\) and \(2, 4\)"):
        group_rational(x, torch.ones(4, 6), torch.ones(2, 4))


class Called(TorchDispatchMode):
    """The names of the operators that were called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.add(func._schema.name)
        return func(*args, **(kwargs or {}))


@in_every_form
def test_the_form_that_is_asked_for_runs(form: str, device: str) -> None:
    with Called() as called:
        results(*drawn((3, 4), 2, device), 1)
    ours = {name for name in called.names if name.startswith("nas::")}
    assert ours == ({"nas::group_rational", "nas::group_rational_gradients"} if form == "triton" else set())


@triton_only
@pytest.mark.parametrize("programs", [1, 4, 6])
def test_a_program_walks_over_many_rows(monkeypatch: pytest.MonkeyPatch, programs: int) -> None:
    from kernels.group_rational import triton_op

    monkeypatch.setattr(triton_op, "PROGRAMS", programs)
    monkeypatch.setenv(VARIABLE, "triton")
    g, x, a, b = drawn((140, 2, 10), 1, "cuda" if GPU else "cpu")  # 280 rows x 2 groups x 5
    a, b = (torch.cat([each, each + 1]) for each in (a, b))
    assert triton_op.tile(5, 4).height == 64
    for each, exact in zip(results(g, x, a, b, -1), formula(g, x, a, b, -1), strict=True):
        assert distance(each, exact) < 1e-5


@triton_only
@pytest.mark.skipif(GPU, reason="runs on the GPU")
def test_the_operators_keep_to_what_torch_expects_of_them() -> None:
    from kernels.group_rational.triton_op import gradients, value

    g, x, a, b = drawn((5, 2, 6), 2, "cpu")
    for inputs in ((x, a, b), (x.mT.contiguous().mT, a, b), (x[:0], a, b)):
        torch.library.opcheck(value, inputs)
        torch.library.opcheck(gradients, (g[: len(inputs[0])], *inputs))


@triton_only
def test_tiles_of_triton_pad_little() -> None:
    from kernels.group_rational.triton_op import tile

    widths = {96: 32, 768: 256, 147: 32, 12: 16, 5: 8, 100: 128, 18816: 128}
    assert {inner: tile(inner, 4).width for inner in widths} == widths
    for inner in range(1, 600):
        for size in (2, 4, 8):
            one = tile(inner, size)
            assert one.height >= 1 and one.width % one.vector == 0
            assert one.height * one.width == one.lanes * one.vector


@triton_only
@pytest.mark.slow
def test_the_kernels_compile_for_a_gpu(tmp_path: Path) -> None:
    """Triton's compiler needs no GPU, only an interpreter that is off; 16 bytes at once are read and written."""
    code = (Path(__file__).parent / "compile_group_rational.py").read_text()
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)
