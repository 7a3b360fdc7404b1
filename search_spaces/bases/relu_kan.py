"""Squared products of two ReLUs (ReLU-KAN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.bases.placing import along
from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register


@register(
    "basis",
    "relu_kan",
    paper="ReLU-KAN: New Kolmogorov-Arnold Networks that Only Need Matrix Addition, Dot Multiplication, and ReLU",
    options=Struct(intervals=Integer(3, 8), order=Integer(2, 3)),
)
class ReLUKAN(nn.Module):
    """(relu(e_i - x)·relu(x - s_i)·4/(e_i - s_i)²)², bells of height 1 on the supports [s_i, e_i] of B-splines.

    With g intervals of length h = (high - low)/g and order k: s_i = low + (i - k)·h and e_i = s_i + (k + 1)·h for
    i = 0 .. g + k - 1. In t = (x - c_i)/r, with c_i the middle and r half the length of a support, the product is
    relu(1 - t²), so the function is relu(1 - t²)²: this form is worked out.

    Shapes: [...] to [..., intervals + order], the new dimension at `dim`. The paper has inputs in [0, 1]; the default
    grid [-2, 2] expects normalised ones. Outside the grid the functions fall to 0 within `order` intervals and
    further out all are 0. Training the s_i and e_i is left out. Half precision is worked out in float32.
    """

    centres: Tensor

    def __init__(self, intervals: int = 5, order: int = 3, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        if intervals < 1 or order < 0 or low >= high:
            raise ValueError(f"no ReLU-KAN functions of order {order} on {intervals} intervals of [{low:g}, {high:g}]")
        self.count = intervals + order
        self.order = order
        self.low = low
        self.step = (high - low) / intervals
        # In grid steps from `low`, so that the buffer holds exact halves in every precision.
        self.register_buffer("centres", torch.arange(self.count) + (1 - order) / 2)

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        return self._offsets(x, dim).square().neg_().add_(1).relu_().square().to(x.dtype)

    def slopes(self, x: Tensor, dim: int = -1) -> Tensor:
        """Return the derivatives of all functions at x, shaped as `forward` returns the values."""
        return self.with_slopes(x, dim)[1]

    def with_slopes(self, x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Return the values and the derivatives, which have most of the work in common."""
        offset = self._offsets(x, dim)
        inside = offset.square().neg_().add_(1).relu_()
        slopes = (inside * offset).mul_(-8 / ((self.order + 1) * self.step))
        return inside.square().to(x.dtype), slopes.to(x.dtype)

    def _offsets(self, x: Tensor, dim: int) -> Tensor:
        """Return t for all functions."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        radius = (self.order + 1) / 2
        place, centres = along(self.centres.to(wide.dtype) / radius, x.ndim, dim)
        return ((wide - self.low) / (radius * self.step)).unsqueeze(place) - centres

    def extra_repr(self) -> str:
        return f"count={self.count}, order={self.order}, low={self.low:g}, step={self.step:g}"
