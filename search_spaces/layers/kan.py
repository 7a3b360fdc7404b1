"""Convolutions whose kernel entries are learned functions (Convolutional KANs; Kolmogorov-Arnold Convolutions)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Architecture, Choice, Struct
from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.registry import choice, make, register

SILU = 2.8178  # 1/E[silu(z)²] for a standard normal z
NOISE = 0.1


@register(
    "layer",
    "kan_conv2d",
    paper="Convolutional Kolmogorov-Arnold Networks; KAN: Kolmogorov-Arnold Networks",
    options=Struct(basis=choice("basis")),
)
class KanConv2d(nn.Module):
    """y = conv([silu(x), basis_1(x), ..., basis_n(x)]), one convolution over the base and all basis functions.

    So each entry (o, i, u, v) of the kernel is its own function w_0·silu(x) + Σ_j w_j·basis_j(x). The channels
    of the concatenation come in slabs of `channels_in`, the base first. Shapes: [batch, channels_in, height,
    width] to [batch, channels_out, height, width]; the padding is 0 after the basis functions.

    The base weights start at N(0, 2.8178/fan_in), which keeps the variance of normal inputs, and the others
    at N(0, 0.01/(fan_in·n)), fan_in = channels_in·kernel²: noise about a tenth of the base, as in KAN.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int = 3, basis: Architecture = "rbf") -> None:
        super().__init__()
        self.basis = make("basis", basis)
        self.convolution = convolution(channels_in * (1 + self.basis.count), channels_out, kernel)
        base, rest = self.convolution.weight.data.tensor_split([channels_in], 1)
        nn.init.normal_(base, std=(SILU / base[0].numel()) ** 0.5)
        nn.init.normal_(rest, std=NOISE * rest[0].numel() ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        expanded = torch.cat([functional.silu(x), self.basis(x, dim=1).flatten(1, 2)], 1)
        mapped: Tensor = self.convolution(expanded)
        return mapped


@register(
    "layer",
    "kan_bottleneck_conv2d",
    paper="Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies",
    options=Struct(basis=choice("basis"), reduction=Choice(2, 4)),
)
def kan_bottleneck_conv2d(
    channels_in: int, channels_out: int, kernel: int = 3, basis: Architecture = "rbf", reduction: int = 4
) -> nn.Module:
    """A KAN convolution between two 1x1 convolutions, which squeeze and expand the channels by `reduction`.

    Shapes as kan_conv2d; the inside has max(1, channels_in // reduction) channels.
    """
    inside = max(1, channels_in // reduction)
    return nn.Sequential(
        convolution(channels_in, inside, 1, gain=LINEAR),
        KanConv2d(inside, inside, kernel, basis),
        convolution(inside, channels_out, 1, gain=LINEAR),
    )
