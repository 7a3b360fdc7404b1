"""Trainable matrix activations: a diagonal or tridiagonal matrix of step functions times x.

    D(x)·x with D_cc = α_c(x_c) and, tridiagonal, D_{c,c+1} = β_c(x_{c+1}), D_{c,c-1} = γ_c(x_{c-1})

α, β, γ are piecewise constant: level t_j between the knots s_j and s_{j+1}. ReLU is the diagonal with the levels 0 and
1 on both sides of a knot at 0. Left out: knots that are trained (a step has no gradient in its knot), entries that
depend on several components at once, and wider bands.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single, per_channel
from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

BANDS = {"diagonal": 1, "tridiagonal": 3}
KNOTS = (-2.0, -1.0, 0.0, 1.0, 2.0)


@register(
    "activation",
    "matrix_relu",
    paper="Neural networks with trainable matrix activation functions",
    options=Struct(bands=Choice(*BANDS)),
)
class MatrixReLU(nn.Module):
    """D(x)·x, D a diagonal or tridiagonal matrix of trainable step functions of x; ReLU at the start.

    Shapes: [batch, channels, ...] to the same, the matrix over the channels of each place; levels [1 or 3, channels,
    6]. The knots -2, -1, 0, 1, 2 are ours, as is the start.
    """

    knots: Tensor

    def __init__(self, channels: int, bands: str = "diagonal") -> None:
        super().__init__()
        if bands not in BANDS:
            raise ValueError(f"bands is one of {', '.join(BANDS)}, but got {bands!r}")
        self.bands = bands
        self.register_buffer("knots", torch.tensor(KNOTS))
        levels = torch.zeros(BANDS[bands], channels, len(KNOTS) + 1)
        levels[0, :, len(KNOTS) // 2 + 1 :] = 1
        self.levels = nn.Parameter(levels)

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        y = self.stepped(wide, self.levels[0])
        if self.bands == "tridiagonal":
            none = torch.zeros_like(wide[:, :1])
            y = y + self.stepped(torch.cat([wide[:, 1:], none], 1), self.levels[1])
            y = y + self.stepped(torch.cat([none, wide[:, :-1]], 1), self.levels[2])
        return y.to(x.dtype)

    def stepped(self, x: Tensor, levels: Tensor) -> Tensor:
        """Return t_c(x_c)·x_c, t_c the step function with `levels` [channels, 6]."""
        level = per_channel(levels[:, 0], x)
        for knot, jump in zip(self.knots.to(x.dtype), levels.diff(dim=1).unbind(1), strict=True):
            level = level + per_channel(jump, x) * (x > knot)
        return level * x

    def extra_repr(self) -> str:
        return f"bands={self.bands}"
