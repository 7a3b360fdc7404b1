"""The Cauchy activation of XNet (Cauchy activation function and XNet)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single
from search_spaces.registry import register

NARROWEST = 0.01


@register("activation", "cauchy", paper="Cauchy activation function and XNet")
class Cauchy(nn.Module):
    """(λ_1·x + λ_2)/(x² + d²), λ_1, λ_2 and d trainable.

    Any shape; one set for the layer. |d| counts as 0.01 where it falls below, so that there is never a pole. It starts
    from λ_1 = λ_2 = 0.01 and d = 1; that these are the paper's own is not sure. Its values are small then, E[f(z)²] =
    6.6e-5, which the layer after it has to make up for (`search_spaces.moments.gain`).
    """

    def __init__(self, channels: int, scale: float = 0.01, width: float = 1.0) -> None:
        super().__init__()
        if width < NARROWEST:
            raise ValueError(f"the width of a Cauchy activation is at least {NARROWEST}, but got {width}")
        self.scales = nn.Parameter(torch.tensor([float(scale), float(scale)]))
        self.width = nn.Parameter(torch.tensor(float(width)))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        linear, constant = self.scales.to(wide.dtype).unbind()
        squared_width = self.width.to(wide.dtype).square().clamp(min=NARROWEST**2)
        return ((linear * wide + constant) / (wide.square() + squared_width)).to(x.dtype)
