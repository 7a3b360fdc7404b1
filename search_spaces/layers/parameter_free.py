"""Max-pooling in the place of a spatial convolution (Learning Features with Parameter-Free Layers)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import RECTIFIED, convolution
from search_spaces.moments import second_moment
from search_spaces.registry import register


@register(
    "layer",
    "parameter_free",
    paper="Learning Features with Parameter-Free Layers",
    options=Struct(kernel=Choice(3, 5)),
)
def parameter_free(channels_in: int, channels_out: int, gain: float = RECTIFIED, *, kernel: int = 3) -> nn.Module:
    """y = W·maxpool(x): the largest value of each kernel-by-kernel window, then a 1x1 convolution over the channels.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]; the border is padded with
    minus infinity. The paper keeps the 1x1 convolutions of its bottlenecks and pools in place of the 3x3 one.

    `gain` is not used: the maximum of kernel² normal values is nearly always positive and large, where a rectifier is
    the identity, so the weights start at N(0, 1/(E[max²]·channels_in)) after either (9 places: E[max²] = 2.56).
    Raises ValueError for an even kernel.
    """
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel is {kernel}, but an odd number of places from 1 up is allowed")
    mix = convolution(channels_in, channels_out, 1, gain=1 / _largest(kernel**2))
    return nn.Sequential(nn.MaxPool2d(kernel, 1, kernel // 2), mix)


def _largest(count: int) -> float:
    """E[max(z_1, ..., z_count)²] of standard normal z: the density of the maximum is count·Φ^(count-1) times theirs."""

    def weighed(z: Tensor) -> Tensor:
        ratio: Tensor = count * torch.special.ndtr(z) ** (count - 1)
        return z * ratio.sqrt()

    return second_moment(weighed).item()
