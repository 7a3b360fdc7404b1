"""Bodies that are concatenated with their input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.registry import register


@register("wiring", "dense", paper="Densely Connected Convolutional Networks; DenseNets Reloaded")
class Dense(nn.Module):
    """W·[x, F(x)]: the concatenation of input and body, mixed down to `channels` by a 1x1 convolution.

    Shapes: [batch, channels, height, width] to the same. DenseNet's growing width is left out.
    """

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.mix = convolution(2 * channels, channels, 1, gain=LINEAR)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(torch.cat([x, self.body(x)], 1))
        return mixed
