"""group_rational in Triton as operators of torch, which torch.compile leaves as they are.

How the rows are shared out among programs is decided by the shape alone and their sums are added up in one order, so
equal inputs give equal gradients, bit by bit. For that, and because a search meets thousands of shapes, nothing is
autotuned.
"""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from kernels.group_rational import reference
from kernels.group_rational.differentiation import differentiable
from kernels.group_rational.triton_kernel import gradients_kernel, value_kernel

BYTES, ALIGNED = 16, 16  # a lane reads 16 bytes at once where `inner` is a multiple of 16, else one value
LANES, UNALIGNED_LANES, WARPS = 128, 512, 4
WIDTHS, NARROW = (8, 16, 32, 64, 128, 256), 32
PROGRAMS = 4096  # of a large backward pass, about: some for each place that a GPU has, so that all end together
SUMS = 10

NAMES = "Tensor x, Tensor numerator, Tensor denominator"


@torch.library.custom_op("nas::group_rational", mutates_args=(), schema=f"({NAMES}) -> Tensor")
def value(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return r(x) of x [rows, groups, inner] for the coefficients [groups, 6] and [groups, 4]."""
    y = _like(x)
    if x.numel():
        height, strips = _tiles(x)
        with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
            value_kernel[(height * strips,)](
                x.contiguous(), y, numerator.contiguous(), denominator.contiguous(), *x.shape, **_constants(x)
            )
    return y


@torch.library.custom_op(
    "nas::group_rational_gradients", mutates_args=(), schema=f"(Tensor grad, {NAMES}) -> (Tensor, Tensor, Tensor)"
)
def gradients(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator."""
    slopes = _like(x)
    if not x.numel():
        return slopes, torch.zeros_like(numerator), torch.zeros_like(denominator)
    groups = x.shape[1]
    height, strips = _tiles(x)
    splits = min(height, max(1, PROGRAMS // strips))
    sums = x.new_empty(splits, groups, strips // groups, SUMS, dtype=torch.promote_types(x.dtype, torch.float32))
    with torch.cuda.device_of(x):  # type: ignore[no-untyped-call]
        gradients_kernel[(splits * strips,)](
            grad.contiguous(),
            x.contiguous(),
            numerator.contiguous(),
            denominator.contiguous(),
            slopes,
            sums,
            *x.shape,
            splits,
            **_constants(x),
        )
    totals = sums.sum((0, 2))
    over, under = totals[:, :6].to(numerator.dtype), (totals[:, 6:] * denominator.sign()).to(denominator.dtype)
    return slopes, over.contiguous(), under.contiguous()


@value.register_fake
def _(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    return _like(x)


@gradients.register_fake
def _(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return _like(x), _like(numerator), _like(denominator)


rational = differentiable(torch.ops.nas.group_rational, torch.ops.nas.group_rational_gradients, reference.gradients)


@dataclass(frozen=True)
class Tile:
    """The part of x [rows, groups, inner] that a program works on at once: `lanes`·`vector` values of one group."""

    lanes: int
    vector: int
    width: int

    @property
    def height(self) -> int:
        return self.lanes * self.vector // self.width


def tile(inner: int, size: int) -> Tile:
    """Return the tile for groups of `inner` values of `size` bytes: the widest of those that pad a row least."""
    widths = [width for width in WIDTHS if width >= min(NARROW, inner)] or [WIDTHS[0]]
    width = min(widths, key=lambda width: (-(-inner // width) * width, -width))
    return Tile(UNALIGNED_LANES, 1, width) if inner % ALIGNED else Tile(LANES, BYTES // size, width)


def _tiles(x: Tensor) -> tuple[int, int]:
    """Return how many tiles lie above each other and side by side."""
    rows, groups, inner = x.shape
    one = tile(inner, x.element_size())
    return -(-rows // one.height), groups * -(-inner // one.width)


def _constants(x: Tensor) -> dict[str, Any]:
    one = tile(x.shape[2], x.element_size())
    work = tl.float64 if x.dtype == torch.float64 else tl.float32
    return {"WORK": work, "LANES": one.lanes, "VECTOR": one.vector, "COLUMNS": one.width, "num_warps": WARPS}


def _like(x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
