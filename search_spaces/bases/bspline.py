"""Uniform B-splines in closed form (KAN; MatrixKAN builds the same functions from a matrix).

With d = |x - c|/h the distance to a function's centre in grid steps, a B-spline of order k is

    φ(d) = 1/k! · Σ_j (-1)^j · C(k+1, j) · relu((k+1)/2 - j - d)^k        j = 0 .. k//2

for the cubic one (relu(2-d)³ - 4·relu(1-d)³)/6. There is no recursion, and as the truncated powers are
taken from the far end inwards, none is larger than ((k+1)/2)^k: nothing cancels far out.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.bases.placing import along
from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register


class _Splines(torch.autograd.Function):
    """φ(|u|) of offsets u in grid steps; autograd through its pieces would take twice the time and memory."""

    generate_vmap_rule = True

    @staticmethod
    def forward(offset: Tensor, order: int) -> Tensor:
        return _pieces(offset.abs(), order, order)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, int], output: Tensor) -> None:
        offset, ctx.order = inputs
        ctx.save_for_backward(offset)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (offset,) = ctx.saved_tensors
        slope = _pieces(offset.abs(), ctx.order, ctx.order - 1).mul_(offset.sign()).neg_()
        return grad * slope, None


def _pieces(distance: Tensor, order: int, power: int) -> Tensor:
    """Return 1/power! · Σ_j (-1)^j · C(order+1, j) · relu((order+1)/2 - j - distance)^power.

    In place where it can be: on tensors this large, fresh memory costs more than the arithmetic.
    """
    pieces = []
    for j in range(order // 2 + 1):
        inside = ((order + 1) / 2 - j - distance).relu_()
        scale = (-1) ** j * math.comb(order + 1, j) / math.factorial(power)
        pieces.append((inside.pow(power) if power else inside.sign()).mul_(scale))
    total = pieces[0]
    for piece in pieces[1:]:
        total.add_(piece)
    return total


@register(
    "basis",
    "bspline",
    paper="KAN: Kolmogorov-Arnold Networks; MatrixKAN",
    options=Struct(intervals=Integer(3, 8), order=Integer(2, 3)),
)
class BSpline(nn.Module):
    """The intervals + order uniform B-splines of an order (3 is cubic) over [low, high].

    Shapes: [...] to [..., count], the new dimension at `dim`. Inside the grid the functions sum to 1. Outside
    they fall to 0 within `order` grid steps, and further out all are 0: a KAN layer's base branch takes over.
    The default grid [-2, 2] expects normalised inputs. Orders 1 to 5; half precision is worked out in float32.
    """

    centres: Tensor

    def __init__(self, intervals: int = 5, order: int = 3, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        if intervals < 1 or not 1 <= order <= 5 or low >= high:
            raise ValueError(f"no B-splines of order {order} on {intervals} intervals of [{low:g}, {high:g}]")
        self.count = intervals + order
        self.order = order
        self.low = low
        self.step = (high - low) / intervals
        # In grid steps from `low`, so that the buffer holds exact halves in every precision.
        self.register_buffer("centres", torch.arange(self.count) + (1 - order) / 2)

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        place, centres = along(self.centres.to(wide.dtype), x.ndim, dim)
        offset = ((wide - self.low) / self.step).unsqueeze(place) - centres
        splines: Tensor = _Splines.apply(offset, self.order)  # type: ignore[no-untyped-call]
        return splines.to(x.dtype)

    def extra_repr(self) -> str:
        return f"count={self.count}, order={self.order}, low={self.low:g}, step={self.step:g}"
