"""One contraction of [base(x), basis_1(x), ..., basis_n(x)] with one weight: what all KAN layers compute.

Written plainly, every operator of the expansion writes n + 1 times as much as x to memory and keeps it for the
backward pass. In eager mode `contract` works the expansion out tile by tile in the cache, keeps nothing but the
expansion itself, or where that is large not even that: then it goes through x in chunks, keeps x alone and expands
again on the way back. The basis' own slopes stand in for autograd. Under a compiler, an exporter or `torch.func` it is
the plain formula in plain operators: inductor fuses the expansion by itself, and every format knows the operators. A
basis with trainable parameters of its own has no `with_slopes`, and is left to autograd.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

KEPT = 2**22  # elements of an expansion up to which it is kept: 16 MiB in float32
CHUNK = {"cpu": 320_000}  # elements of a chunk of a larger one, by device
LARGE = 2**26
TILE = 2**17  # elements that stay in a core's cache with all that is worked out from them


class Expansion(nn.Module):
    """[silu(x), basis_1(x), ..., basis_n(x)] stacked along a new dimension, the first one only with `base`."""

    basis: Any
    count: int

    def __init__(self, basis: Any, base: bool = True) -> None:
        super().__init__()
        self.basis = basis
        self.base = base
        self.count = basis.count + base

    def forward(self, x: Tensor, dim: int) -> Tensor:
        values: Tensor = self.basis(x, dim)
        return torch.cat([functional.silu(x).unsqueeze(dim), values], dim) if self.base else values


def contract(
    x: Tensor, weight: Tensor, bias: Tensor | None, expansion: Expansion, padding: int | None = None
) -> Tensor:
    """Return the expansion of x times a weight: a linear map of the last dimension, or with `padding` a convolution.

    Shapes: x [..., in], weight [out, count·in], result [..., out]; or x [batch, in, height, width], weight
    [out, count·in, kernel, kernel], padded with zeros after the expansion. The functions are the outer dimension
    of count·in. Under autocast the expansion is worked out in x's precision and contracted in autocast's.
    """
    if torch.is_autocast_enabled(x.device.type) and weight.dtype != torch.float64:
        weight = weight.to(torch.get_autocast_dtype(x.device.type))
        bias = bias if bias is None else bias.to(weight.dtype)
    with torch.autocast(x.device.type, enabled=False):
        if getattr(expansion.basis, "prefers_local", False) and _eager(x):
            mapped = _contract_locally(x, weight, expansion, padding)
        elif hasattr(expansion.basis, "with_slopes") and _eager(x):
            mapped = _Contraction.apply(_channels_last(x, padding), weight, expansion, padding)  # type: ignore[no-untyped-call]
        else:
            expanded = expansion(_channels_last(x, padding), -2).flatten(-2)
            mapped = _apply(expanded.to(weight.dtype), weight, padding)
        if bias is not None:
            mapped = mapped + (bias if padding is None else bias[:, None, None])
        return mapped if padding is None else mapped.contiguous()


class _Contraction(torch.autograd.Function):
    """The contraction in eager mode; x is [..., in].

    Base and basis are contracted one after the other: to put them side by side would cost a pass over memory.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, expansion: Expansion, padding: int | None) -> Tensor:
        ctx.expansion, ctx.padding = expansion, padding
        base, rest = _halves(weight, x, expansion)
        mapped, kept = [], []
        for part in _chunks(_rows(x, padding), expansion.count):
            values = _tiled(part, lambda tile: expansion.basis(tile, -2), expansion.count).to(weight.dtype)
            mapped.append(_apply(values.flatten(-2), rest, padding))
            if expansion.base:
                mapped[-1] += _apply(functional.silu(part).to(weight.dtype), base, padding)
            if _is_kept(x, expansion.count):
                kept.append(values)
        ctx.save_for_backward(x, weight, *kept)
        found = torch.cat(mapped) if len(mapped) > 1 else mapped[0]
        return found if padding is not None else found.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None]:
        x, weight, *kept = ctx.saved_tensors
        basis, padding, count = ctx.expansion.basis, ctx.padding, ctx.expansion.count
        base, rest = _halves(weight, x, ctx.expansion)
        # Sums of many chunks would lose digits in half precision.
        wide = torch.promote_types(weight.dtype, torch.float32)
        total, back = torch.zeros_like(weight, dtype=wide), []
        parts = _chunks(_rows(x, padding), count)
        slopes_out = grad if padding is not None else grad.reshape(-1, grad.shape[-1])
        for part, slope in zip(parts, torch.split(slopes_out, [len(part) for part in parts]), strict=True):
            if kept and not torch.is_grad_enabled():
                inner = _transposed(slope, kept[0].flatten(-2), rest, padding, total, base.shape[1])
                inner = torch.unflatten(inner, -1, kept[0].shape[-2:])
                pulled = _tiled(part, lambda x, inner: basis.slopes(x, -2).mul_(inner).sum(-2), count, inner)
            else:
                values, slopes = basis.with_slopes(part, -2)
                inner = _transposed(slope, values.flatten(-2).to(weight.dtype), rest, padding, total, base.shape[1])
                inner = torch.unflatten(inner, -1, values.shape[-2:])
                pulled = (slopes * inner if torch.is_grad_enabled() else slopes.mul_(inner)).sum(-2)
            if ctx.expansion.base:
                inner = _transposed(slope, functional.silu(part).to(weight.dtype), base, padding, total, 0)
                pulled = pulled + _through_silu(inner.to(part.dtype), part)
            back.append(pulled)
        pulled = torch.cat(back) if len(back) > 1 else back[0]
        return pulled.to(x.dtype).view_as(x), total.to(weight.dtype), None, None


def _tiled(x: Tensor, function: Callable[..., Tensor], count: int, *more: Tensor) -> Tensor:
    """Return a function of x and more, tile by tile along the first dimension, so that a tile stays in the cache."""
    size = TILE * torch.get_num_threads()
    if x.device.type != "cpu" or count * x.numel() <= size:
        return function(x, *more)
    rows = max(1, size * len(x) // (count * x.numel()))
    tiles = [torch.split(each, rows) for each in (x, *more)]
    first = function(*(each[0] for each in tiles))
    found = first.new_empty(len(x), *first.shape[1:])
    found[:rows] = first
    for i, tile in enumerate(zip(*tiles, strict=True)):
        if i:
            found[i * rows : (i + 1) * rows] = function(*tile)
    return found


def _transposed(
    grad: Tensor, expanded: Tensor, weight: Tensor, padding: int | None, total: Tensor, first: int
) -> Tensor:
    """Return the gradient of an expansion, and add that of its weight to `total` from column `first` on."""
    total = total.narrow(1, first, weight.shape[1])
    if padding is None:
        if total.dtype == expanded.dtype:
            total.addmm_(grad.T, expanded)
        else:
            total.add_(grad.T @ expanded)
        return grad @ weight
    inner, part, _ = torch.ops.aten.convolution_backward(
        grad,
        expanded.movedim(-1, 1),
        weight,
        None,
        [1, 1],
        [padding] * 2,
        [1, 1],
        False,
        [0, 0],
        1,
        [True, True, False],
    )
    total.add_(part)
    return inner.movedim(1, -1)  # type: ignore[no-any-return]


def _through_silu(grad: Tensor, x: Tensor) -> Tensor:
    """Return the gradient of x; torch's fused operator for it cannot be differentiated again."""
    if not torch.is_grad_enabled():
        return torch.ops.aten.silu_backward(grad, x)  # type: ignore[no-any-return]
    gate = torch.sigmoid(x)
    return grad * gate * (1 + x * (1 - gate))


def _halves(weight: Tensor, x: Tensor, expansion: Expansion) -> tuple[Tensor, Tensor]:
    """Split the weight into that of the base branch and that of the basis."""
    base, rest = weight.tensor_split([x.shape[-1] if expansion.base else 0], 1)
    return base, rest


def _contract_locally(x: Tensor, weight: Tensor, expansion: Expansion, padding: int | None) -> Tensor:
    """Contract with the functions that are not zero at each input alone, as a weighted sum of rows of the weight.

    A convolution is one over patches: values and indices are unfolded, the padding with values of 0.
    """
    shape = x.shape
    if padding is None:
        x = _rows(x, padding)
    else:
        batch, _, height, width = shape
        kernel = weight.shape[-1]
        size = (height + 2 * padding - kernel + 1, width + 2 * padding - kernel + 1)
    values, index = expansion.basis.local(x)
    values, index = values.movedim(-1, 1), index.movedim(-1, 1) + int(expansion.base)
    if expansion.base:
        values = torch.cat([functional.silu(x).unsqueeze(1), values], 1)
        index = torch.cat([torch.zeros_like(index[:, :1]), index], 1)
    channels = torch.arange(x.shape[1], device=x.device).view(-1, *[1] * (x.ndim - 2))
    index = (index * x.shape[1] + channels).flatten(1, 2)
    values = values.flatten(1, 2)
    if padding is not None:
        place = torch.arange(kernel * kernel, device=x.device)
        unfold = {"kernel_size": kernel, "padding": padding}
        values = functional.unfold(values, **unfold).mT.flatten(0, 1)
        # Whole numbers beyond 2^24 are not exact in float32, so the indices are unfolded in float64.
        index = functional.unfold(index.double(), **unfold).mT.flatten(0, 1).long()
        index = (torch.unflatten(index, 1, (-1, kernel * kernel)) * kernel * kernel + place).flatten(1)
        table = weight.flatten(1).T
    else:
        table = weight.T
    mapped = functional.embedding_bag(index, table.contiguous(), per_sample_weights=values.to(table.dtype), mode="sum")
    if padding is None:
        return mapped.view(*shape[:-1], -1)
    return torch.unflatten(mapped, 0, (batch, *size)).movedim(-1, 1)


def _eager(x: Tensor) -> bool:
    """Tell whether operators run one by one on plain tensors; torch.func cannot see through in-place sums."""
    transformed = torch._C._are_functorch_transforms_active()
    return x.numel() > 0 and not torch.compiler.is_compiling() and not transformed


def _channels_last(x: Tensor, padding: int | None) -> Tensor:
    """Return x with its channels in the last dimension: convolutions of wide maps are fastest so."""
    return x if padding is None else x.movedim(1, -1).contiguous()


def _rows(x: Tensor, padding: int | None) -> Tensor:
    return x.reshape(-1, x.shape[-1]) if padding is None else x


def _is_kept(x: Tensor, count: int) -> bool:
    return count * x.numel() <= KEPT


def _chunks(x: Tensor, count: int) -> tuple[Tensor, ...]:
    """Split x along its first dimension; where the expansion is kept, one chunk is all of it."""
    number = 1 if _is_kept(x, count) else math.ceil(count * x.numel() / CHUNK.get(x.device.type, LARGE))
    chunks: tuple[Tensor, ...] = torch.split(x, math.ceil(len(x) / number))
    return chunks


def _apply(expanded: Tensor, weight: Tensor, padding: int | None) -> Tensor:
    """Return the linear map of the last dimension, or the convolution of [batch, height, width, in]."""
    if padding is None:
        return functional.linear(expanded, weight)
    return functional.conv2d(expanded.movedim(-1, 1), weight, padding=padding)
