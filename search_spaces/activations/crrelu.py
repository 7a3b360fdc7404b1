"""CRReLU, a ReLU with a correction by entropy (A Method on Searching Better Activation Functions)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single
from search_spaces.registry import register


@register("activation", "crrelu", paper="A Method on Searching Better Activation Functions")
class CRReLU(nn.Module):
    """max(0, x) + ε·x·exp(-x²/2), ε trainable, 0.01 at the start.

    Any shape; one ε for the layer.
    """

    def __init__(self, channels: int, epsilon: float = 0.01) -> None:
        super().__init__()
        self.epsilon = nn.Parameter(torch.tensor(float(epsilon)))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        correction = wide * torch.exp(-wide.square() / 2)
        return (wide.relu() + self.epsilon.to(wide.dtype) * correction).to(x.dtype)
