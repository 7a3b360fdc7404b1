"""Inverted bottlenecks with depthwise convolutions (MobileNetV2, EfficientNet)."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import LINEAR, RECTIFIED, SILU, convolution
from search_spaces.registry import register


class SqueezeExcitation(nn.Module):
    """x·2σ(W2·silu(W1·mean(x))), the mean over all places: a weight for each channel.

    Shapes: [batch, channels, height, width] to the same; the inside has max(1, channels // reduction) channels. The
    factor 2 makes the weights about 1 at the start, so that the variance is kept.
    """

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        inside = max(1, channels // reduction)
        self.weigh = nn.Sequential(
            convolution(channels, inside, 1, gain=LINEAR),
            nn.SiLU(),
            convolution(inside, channels, 1, gain=SILU),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        weighed: Tensor = 2 * x * self.weigh(x.mean((2, 3), keepdim=True))
        return weighed


@register(
    "layer",
    "mbconv",
    paper="MobileNetV2: Inverted Residuals and Linear Bottlenecks; "
    "Memory Efficient 3D U-Net with Reversible Mobile Inverted Bottlenecks for Brain Tumor Segmentation",
    options=Struct(expansion=Choice(2, 4), squeeze=Choice(False, True)),
)
def mbconv(
    channels_in: int,
    channels_out: int,
    gain: float = RECTIFIED,
    *,
    expansion: int = 4,
    squeeze: bool = True,
    kernel: int = 3,
) -> nn.Module:
    """An inverted bottleneck: P·se(silu(D·silu(E·x))), expanding 1x1, depthwise kernel by kernel, projecting 1x1.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width], inside expansion·channels_in
    channels. `squeeze` puts a squeeze-excitation (reduced to channels_in // 4) before the projection. As in
    EfficientNet the activations inside are SiLU and there is none after the projection.

    Left out: the batch normalisation after each of the three convolutions, in whose place the initialisation keeps
    the variance, and the shortcut, which is a matter of the wiring. Raises ValueError for an expansion below 1.
    """
    if expansion < 1:
        raise ValueError(f"expansion is {expansion}, but a whole number from 1 up is allowed")
    inside = expansion * channels_in
    return nn.Sequential(
        convolution(channels_in, inside, 1, gain=gain),
        nn.SiLU(),
        convolution(inside, inside, kernel, groups=inside, gain=SILU),
        nn.SiLU(),
        *([SqueezeExcitation(inside, 4 * expansion)] if squeeze else []),
        convolution(inside, channels_out, 1, gain=SILU),
    )
