"""Orthonormal polynomials with a learned recurrence (Graph Neural Networks with Learnable ... Polynomial Bases)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.bases.positive import above, raw_of
from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register

SMALLEST_ROOT = 0.1
STARTS = ("chebyshev", "legendre")


@register(
    "basis",
    "favard",
    paper="Graph Neural Networks with Learnable and Optimal Polynomial Bases",
    options=Struct(degree=Integer(2, 5)),
)
class Favard(nn.Module):
    """√β_{n+1}·h_{n+1} = (z - γ_n)·h_n - √β_n·h_{n-1} of z = tanh(x), from h_0 = 1, with trainable γ and β > 0.

    By Favard's theorem such a recurrence makes polynomials that are orthonormal under some probability measure, and
    all such polynomials (of positive leading coefficient) have one: training it searches through these bases.
    β_0, a factor of all functions, is left out, as the layer's weights hold it. √β_n is 0.1 + softplus(raw), so it
    cannot reach 0. With γ = 0 they start as the orthonormal Chebyshev (β_1 = 1/2, the others 1/4) or Legendre
    polynomials (β_n = n²/(4n² - 1)).

    Shapes: [...] to [..., degree + 1], the new dimension at `dim`. The paper has z the spectrum of a graph; tanh
    bounds the values, which far out are constant. Half precision is worked out in float32.
    """

    def __init__(self, degree: int = 3, start: str = "chebyshev") -> None:
        super().__init__()
        if degree < 1:
            raise ValueError(f"the degree of a Favard basis is at least 1, but got {degree}")
        if start not in STARTS:
            raise ValueError(f"no start {start!r}: there are {', '.join(STARTS)}")
        n = torch.arange(1, degree + 1)
        beta = torch.where(n == 1, 0.5, 0.25) if start == "chebyshev" else n**2 / (4 * n**2 - 1)
        self.count = degree + 1
        self.gamma = nn.Parameter(torch.zeros(degree))
        self.raw_root = nn.Parameter(raw_of(beta.sqrt(), SMALLEST_ROOT))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        z = x.to(dtype).tanh()
        gamma, root = self.gamma.to(dtype), above(self.raw_root.to(dtype), SMALLEST_ROOT)
        terms = [torch.ones_like(z), (z - gamma[0]) / root[0]]
        for n in range(1, self.count - 1):
            terms.append(((z - gamma[n]) * terms[-1] - root[n - 1] * terms[-2]) / root[n])
        return torch.stack(terms, dim).to(x.dtype)

    def extra_repr(self) -> str:
        return f"count={self.count}"
