"""Ordinary and depthwise separable convolutions, with weights that keep the variance of their inputs."""

from __future__ import annotations

from torch import nn

from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

LINEAR, RECTIFIED = 1.0, 2.0
SILU, GELU = 2.8108, 2.3517  # 1/E[f(z)²] for a standard normal z


def convolution(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1, gain: float = RECTIFIED
) -> nn.Conv2d:
    """Return a padded convolution: weights from N(0, gain/fan_in) (Delving Deep into Rectifiers), no bias at first.

    `gain` is 1/E[f(z)²] of the function f before it: LINEAR after none, RECTIFIED after a ReLU. Raises ValueError
    for an even kernel, which could not keep height and width.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}, but an odd number of places from 1 up is allowed")
    layer = nn.Conv2d(channels_in, channels_out, kernel, stride, kernel // 2, groups=groups)
    nn.init.normal_(layer.weight, std=(gain / layer.weight[0].numel()) ** 0.5)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


@register("layer", "linear")
def linear(channels_in: int, channels_out: int, gain: float = RECTIFIED) -> nn.Module:
    """y = W·x + b at each place by itself, over all its channels: a convolution of 1 by 1."""
    return convolution(channels_in, channels_out, 1, gain=gain)


@register("layer", "conv2d")
def conv2d(channels_in: int, channels_out: int, gain: float = RECTIFIED, *, kernel: int = 3) -> nn.Module:
    """A convolution, kernel by kernel."""
    return convolution(channels_in, channels_out, kernel, gain=gain)


@register("layer", "depthwise_separable", paper="MobileNets", options=Struct(kernel=Choice(3, 5)))
def depthwise_separable(channels_in: int, channels_out: int, gain: float = RECTIFIED, *, kernel: int = 3) -> nn.Module:
    """A convolution of each channel by itself, kernel by kernel, then one of 1x1 over all channels."""
    return nn.Sequential(
        convolution(channels_in, channels_in, kernel, groups=channels_in, gain=gain),
        convolution(channels_in, channels_out, 1, gain=LINEAR),
    )
