"""Ordinary and depthwise separable convolutions, with weights that keep the variance of their inputs."""

from __future__ import annotations

from torch import nn

from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

LINEAR, RECTIFIED = 1.0, 2.0


def convolution(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, gain: float = RECTIFIED
) -> nn.Conv2d:
    """Return a padded convolution: weights from N(0, gain/fan_in) (Delving Deep into Rectifiers), no bias at first.

    `gain` is 1/E[f(z)²] of the function f before it: LINEAR after none, RECTIFIED after a ReLU.
    """
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups)
    nn.init.normal_(layer.weight, std=(gain / layer.weight[0].numel()) ** 0.5)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


@register("layer", "conv2d")
def conv2d(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Module:
    """A convolution, kernel by kernel."""
    return convolution(channels_in, channels_out, kernel)


@register("layer", "depthwise_separable", paper="MobileNets", options=Struct(kernel=Choice(3, 5)))
def depthwise_separable(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Module:
    """A convolution of each channel by itself, kernel by kernel, then one of 1x1 over all channels."""
    return nn.Sequential(
        convolution(channels_in, channels_in, kernel, groups=channels_in),
        convolution(channels_in, channels_out, 1, gain=LINEAR),
    )
