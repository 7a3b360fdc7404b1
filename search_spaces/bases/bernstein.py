"""Bernstein polynomials (Kolmogorov-Arnold Convolutions)."""

from __future__ import annotations

from math import comb

import torch
from torch import Tensor, nn

from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register


@register(
    "basis",
    "bernstein",
    paper="Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies",
    options=Struct(degree=Integer(2, 5)),
)
class Bernstein(nn.Module):
    """C(n,k)·z^k·(1-z)^(n-k) of z = σ(x), k = 0 .. n, n the degree.

    Shapes: [...] to [..., degree + 1], the new dimension at `dim`. None is negative and they sum to 1; far out
    the first or the last is 1. Half precision is worked out in float32.
    """

    def __init__(self, degree: int = 3) -> None:
        super().__init__()
        if degree < 1:
            raise ValueError(f"the degree of Bernstein polynomials is at least 1, but got {degree}")
        self.count = degree + 1

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        z = x.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()
        return torch.stack(self._terms(z), dim).to(x.dtype)

    def slopes(self, x: Tensor, dim: int = -1) -> Tensor:
        """Return the derivatives of all functions at x, B_k·(k - n·z), shaped as `forward` returns the values."""
        return self.with_slopes(x, dim)[1]

    def with_slopes(self, x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Return the values and the derivatives, which have most of the work in common."""
        z = x.to(torch.promote_types(x.dtype, torch.float32)).sigmoid()
        terms, scaled = self._terms(z), (self.count - 1) * z
        slopes = [(k - scaled).mul_(term) for k, term in enumerate(terms)]
        return torch.stack(terms, dim).to(x.dtype), torch.stack(slopes, dim).to(x.dtype)

    def _terms(self, z: Tensor) -> list[Tensor]:
        up, down = [torch.ones_like(z), z], [torch.ones_like(z), 1 - z]
        while len(up) < self.count:
            up.append(up[-1] * z)
            down.append(down[-1] * down[1])
        degree = self.count - 1
        return [(up[k] * down[degree - k]).mul_(comb(degree, k)) for k in range(self.count)]

    def extra_repr(self) -> str:
        return f"count={self.count}"
