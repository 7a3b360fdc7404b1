"""Products of inputs as a further input (More Consideration for the Perceptron), as an activation.

The paper's gated perceptron has one more weight, on the product of its inputs: w_1·x_1 + w_2·x_2 + w_3·x_1·x_2 + b. The
product of all inputs of a wide layer vanishes or overflows; so here each channel gets the product of a small group of
neighbours, its own trainable weight on it, and the linear layers before and after do the rest.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single, grouped, per_channel
from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register


@register(
    "activation", "product_gate", paper="More Consideration for the Perceptron", options=Struct(size=Choice(2, 3))
)
class ProductGate(nn.Module):
    """x_c + w_c·Π x_j over the group of neighbouring channels that c belongs to, w trainable, 0 at the start.

    Shapes: [batch, channels, ...] to the same, each place on its own; w [channels]. Where `size` does not divide the
    channels, the last group is smaller. At the start it is the identity.
    """

    def __init__(self, channels: int, size: int = 2) -> None:
        super().__init__()
        if size < 2:
            raise ValueError(f"a product takes at least 2 channels, but got {size}")
        self.size = size
        self.weights = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        product = math.prod(grouped(wide, self.size, 1.0).unbind(2), start=torch.ones_like(wide[:, :1]))
        gate = product.repeat_interleave(self.size, 1)[:, : x.shape[1]]
        return (wide + per_channel(self.weights, wide) * gate).to(x.dtype)

    def extra_repr(self) -> str:
        return f"size={self.size}"
