"""The usual first layer of an image network."""

from __future__ import annotations

from torch import nn

from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.registry import register


@register("stem", "convolution")
def image_convolution(channels_in: int, channels_out: int, stride: int = 1, gain: float = LINEAR) -> nn.Module:
    """A convolution: 3 by 3 with a stride of 1 or 2, 7 by 7 with larger ones.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, ⌈height/stride⌉, ⌈width/stride⌉].
    """
    return convolution(channels_in, channels_out, 3 if stride <= 2 else 7, stride=stride, gain=gain)
