"""Trainable rational functions (KAT), here as a basis."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.rational_table import COEFFICIENTS
from search_spaces.bases.placing import along
from search_spaces.decisions import Choice, Integer, Struct
from search_spaces.registry import register

INITS = ("silu", "gelu", "tanh")


@register(
    "basis",
    "rational_basis",
    paper="Kolmogorov-Arnold Transformer",
    options=Struct(init=Choice(*INITS), count=Integer(2, 6)),
)
class RationalBasis(nn.Module):
    """r_j(x - τ_j), r_j the safe Padé (a_0+a_1·u+...+a_5·u⁵)/(1+|b_1|·|u|+...+|b_4|·|u|⁴), all coefficients trainable.

    Shapes: [...] to [..., count], the new dimension at `dim`. KAT has one rational function for each group of
    channels; here a bank of `count` serves all edges of a layer. All start fitted to the activation `init`, and
    differ by their trainable shifts τ_j, which start evenly spread from low to high (at 0 if there is one). The
    denominator never falls below 1; far out the functions grow linearly at most, within float32 up to |x| = 1e7.
    Half precision is worked out in float32.
    """

    def __init__(self, init: str = "silu", count: int = 4, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        if init not in COEFFICIENTS:
            raise ValueError(f"no rational function is fitted to {init!r}: there are {', '.join(COEFFICIENTS)}")
        if count < 1 or low > high:
            raise ValueError(f"no {count} rational functions with shifts over [{low:g}, {high:g}]")
        numerator, denominator = (torch.tensor(values) for values in COEFFICIENTS[init])
        self.count = count
        self.shift = nn.Parameter(torch.linspace(low, high, count) if count > 1 else torch.zeros(1))
        self.numerator = nn.Parameter(numerator.repeat(count, 1))
        self.denominator = nn.Parameter(denominator.repeat(count, 1))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        place, shift = along(self.shift.to(dtype), x.ndim, dim)
        u = x.to(dtype).unsqueeze(place) - shift
        numerator = [along(a, x.ndim, dim)[1] for a in self.numerator.to(dtype).unbind(1)]
        denominator = [along(b, x.ndim, dim)[1] for b in self.denominator.to(dtype).abs().unbind(1)]
        size = u.abs()
        return (_horner(u, numerator) / (1 + size * _horner(size, denominator))).to(x.dtype)

    def extra_repr(self) -> str:
        return f"count={self.count}"


def _horner(u: Tensor, coefficients: list[Tensor]) -> Tensor:
    value = coefficients[-1]
    for coefficient in coefficients[-2::-1]:
        value = torch.addcmul(coefficient, value, u)
    return value
