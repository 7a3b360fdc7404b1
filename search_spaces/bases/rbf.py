"""Gaussian radial basis functions (FastKAN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.bases.placing import along
from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register


@register(
    "basis",
    "rbf",
    paper="Kolmogorov-Arnold Networks are Radial Basis Function Networks (FastKAN)",
    options=Struct(centres=Integer(4, 8)),
)
class RBF(nn.Module):
    """exp(-((x - c_i)/h)²) at evenly spaced centres c_i from low to high, a distance h apart.

    Shapes: [...] to [..., count], the new dimension at `dim`. Outside the grid all fall to 0. FastKAN's
    LayerNorm is left out: the inputs are expected to be normalised. Half precision is worked out in float32.
    """

    centres: Tensor

    def __init__(self, centres: int = 8, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        if centres < 2 or low >= high:
            raise ValueError(f"no Gaussians at {centres} centres of [{low:g}, {high:g}]: at least 2 are needed")
        self.count = centres
        self.low = low
        self.step = (high - low) / (centres - 1)
        # In grid steps from `low`, so that the buffer holds exact whole numbers in every precision.
        self.register_buffer("centres", torch.arange(centres, dtype=torch.get_default_dtype()))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        return self._distances(x, dim).square().neg_().exp_().to(x.dtype)

    def slopes(self, x: Tensor, dim: int = -1) -> Tensor:
        """Return the derivatives of all functions at x, shaped as `forward` returns the values."""
        return self.with_slopes(x, dim)[1]

    def with_slopes(self, x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Return the values and the derivatives, which have most of the work in common."""
        distance = self._distances(x, dim)
        values = distance.square().neg_().exp_()
        return values.to(x.dtype), (values * distance).mul_(-2 / self.step).to(x.dtype)

    def _distances(self, x: Tensor, dim: int) -> Tensor:
        """Return the signed distances to all centres, in grid steps."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        place, centres = along(self.centres.to(wide.dtype), x.ndim, dim)
        return ((wide - self.low) / self.step).unsqueeze(place) - centres

    def extra_repr(self) -> str:
        return f"count={self.count}, low={self.low:g}, step={self.step:g}"
