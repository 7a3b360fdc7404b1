"""Polynomials of ReLU and of normalised powers (Polynomial Composition Activations), of degree 3.

A polynomial has no bounded slope: the second moment that PolyReLU passes on grows with the 2.5th power of the one it
gets, so that a deep stack without normalisation blows up or dies out whatever its weights start from. PolyNorm
normalises itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single
from search_spaces.registry import register

DEGREE = 3
PAPER = "Polynomial Composition Activations: Unleashing the Dynamics of Large Language Models"


@register("activation", "polyrelu", paper=PAPER)
class PolyReLU(nn.Module):
    """a_0 + a_1·r + a_2·r² + a_3·r³ with r = max(0, x), all a trainable.

    Any shape; one set of coefficients for the layer, at the start 0 and three times 1/3.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.coefficients = nn.Parameter(torch.tensor([0.0] + [1 / DEGREE] * DEGREE))

    def forward(self, x: Tensor) -> Tensor:
        r = at_least_single(x).relu()
        constant, linear, square, cube = self.coefficients.to(r.dtype).unbind()
        return (constant + r * (linear + r * (square + r * cube))).to(x.dtype)


@register("activation", "polynorm", paper=PAPER)
class PolyNorm(nn.Module):
    """w_1·N(x) + w_2·N(x²) + w_3·N(x³) + b with N(u) = u/√(mean u² + ε), w and b trainable.

    Shapes: [batch, channels, ...] to the same. The mean runs over the channels, of one sample at one place: the
    paper's last axis, the features of a token. One set of weights for the layer, 1/3 each at the start, and b = 0.
    """

    def __init__(self, channels: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weights = nn.Parameter(torch.full((DEGREE,), 1 / DEGREE))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        powers = [wide, wide.square(), wide**3]
        normalised = [u * torch.rsqrt(u.square().mean(1, keepdim=True) + self.eps) for u in powers]
        first, second, third = self.weights.to(wide.dtype).unbind()
        y = first * normalised[0] + second * normalised[1] + third * normalised[2]
        return (y + self.bias.to(wide.dtype)).to(x.dtype)

    def extra_repr(self) -> str:
        return f"eps={self.eps:g}"
