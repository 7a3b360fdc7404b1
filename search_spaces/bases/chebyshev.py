"""Chebyshev polynomials of the first kind (Kolmogorov-Arnold Convolutions; ChebyKAN)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register


@register(
    "basis",
    "chebyshev",
    paper="Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies",
    options=Struct(degree=Integer(2, 5)),
)
class Chebyshev(nn.Module):
    """T_0 .. T_degree of z = tanh(x), by T_n = 2z·T_{n-1} - T_{n-2} from T_0 = 1 and T_1 = z.

    Shapes: [...] to [..., degree + 1], the new dimension at `dim`. The recurrence has a gradient everywhere,
    unlike cos(n·acos z). Half precision is worked out in float32.
    """

    def __init__(self, degree: int = 3) -> None:
        super().__init__()
        if degree < 1:
            raise ValueError(f"the degree of Chebyshev polynomials is at least 1, but got {degree}")
        self.count = degree + 1

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        z = x.to(torch.promote_types(x.dtype, torch.float32)).tanh()
        terms = [torch.ones_like(z), z]
        while len(terms) < self.count:
            terms.append(2 * z * terms[-1] - terms[-2])
        return torch.stack(terms, dim).to(x.dtype)

    def extra_repr(self) -> str:
        return f"count={self.count}"
