"""Layers whose weights are learned functions: linear ones, convolutions, and convolutions in a bottleneck.

y_o = Σ_i φ_oi(x_i) with φ(x) = w_0·silu(x) + Σ_j w_j·basis_j(x): every edge from an input i to an output o has its own
function, made of the same basis as all others (KAN; Convolutional KAN). So a layer is one linear map of the expanded
input [silu(x), basis_1(x), ..., basis_n(x)], see `contraction`.

The weights start normal, such that a standard normal input keeps its variance: the basis makes the share noise² of
it, noise = 0.1 as in KAN, and the base branch the rest. What a basis weighs is measured, not assumed (`second_moment`).
Through deep stacks without normalisation silu passes deviations on 1.17-fold (see `activations.standard`), so that the
variance drifts after some six layers. With noise = 0.5 the basis holds it within a factor of 2 through twenty, and so
it does without the base branch; but in a trial (one seed) small KANs then fitted five of six formulas two to seven
times worse.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.decisions import Architecture, Choice, Struct
from search_spaces.layers.contraction import Expansion, contract
from search_spaces.layers.convolution import LINEAR, RECTIFIED, SILU, convolution
from search_spaces.moments import second_moment
from search_spaces.registry import choice, make, register

NOISE = 0.1


class KanLinear(nn.Module):
    """y_o = Σ_i w_oi0·silu(x_i) + Σ_ij w_oij·basis_j(x_i), plus a bias with `bias`.

    Shapes: [..., features_in] to [..., features_out]; the weight is that of an ordinary linear layer, [features_out,
    (1 + count)·features_in], the base's part first and then the basis' function by function. Without `base` the
    basis stands alone and makes all of the variance at the start.
    """

    def __init__(
        self,
        features_in: int,
        features_out: int,
        basis: Architecture | nn.Module = "bspline",
        base: bool = True,
        bias: bool = True,
        noise: float = NOISE,
    ) -> None:
        super().__init__()
        self.expansion = Expansion(basis if isinstance(basis, nn.Module) else make("basis", basis), base)
        self.linear = nn.Linear(features_in * self.expansion.count, features_out, bias=bias)
        start(self.linear, self.expansion, features_in, noise)

    @property
    def basis(self) -> Any:
        return self.expansion.basis

    def forward(self, x: Tensor) -> Tensor:
        return contract(x, self.linear.weight, self.linear.bias, self.expansion)


@register(
    "layer",
    "kan_conv2d",
    paper="Convolutional Kolmogorov-Arnold Networks; KAN: Kolmogorov-Arnold Networks",
    options=Struct(basis=choice("basis")),
)
class KanConv2d(nn.Module):
    """y = conv([silu(x), basis_1(x), ..., basis_n(x)]): a convolution whose kernel entries are learned functions.

    So each entry (o, i, u, v) of the kernel is its own function w_0·silu(x) + Σ_j w_j·basis_j(x). The channels
    of the expansion come in slabs of `channels_in`, the base first. Shapes: [batch, channels_in, height,
    width] to [batch, channels_out, height, width]; the padding is 0 after the basis functions. `gain` is unused:
    the layer expects normal inputs.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        gain: float = RECTIFIED,
        *,
        kernel: int = 3,
        basis: Architecture | nn.Module = "rbf",
        noise: float = NOISE,
    ) -> None:
        super().__init__()
        self.expansion = Expansion(basis if isinstance(basis, nn.Module) else make("basis", basis))
        self.convolution = convolution(channels_in * self.expansion.count, channels_out, kernel)
        start(self.convolution, self.expansion, channels_in, noise)

    @property
    def basis(self) -> Any:
        return self.expansion.basis

    def forward(self, x: Tensor) -> Tensor:
        layer = self.convolution
        return contract(x, layer.weight, layer.bias, self.expansion, layer.kernel_size[0] // 2)


@register(
    "layer",
    "kan_linear",
    paper="KAN: Kolmogorov-Arnold Networks",
    options=Struct(basis=choice("basis", inner=False)),
)
def kan_linear(
    channels_in: int, channels_out: int, gain: float = RECTIFIED, *, basis: Architecture | nn.Module = "rbf"
) -> nn.Module:
    """y_o = Σ_i φ_oi(x_i), φ(x) = w_0·silu(x) + Σ_j w_j·basis_j(x): a KAN layer over the channels of each place.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]. The same on vectors
    [..., features] is the class KanLinear. `gain` is unused: the layer expects normal inputs.
    """
    return KanConv2d(channels_in, channels_out, kernel=1, basis=basis)


@register(
    "layer",
    "kan_bottleneck_conv2d",
    paper="Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies",
    options=Struct(basis=choice("basis", inner=False), reduction=Choice(2, 4)),
)
def kan_bottleneck_conv2d(
    channels_in: int,
    channels_out: int,
    gain: float = RECTIFIED,
    *,
    kernel: int = 3,
    basis: Architecture | nn.Module = "rbf",
    reduction: int = 4,
) -> nn.Module:
    """A KAN convolution between two 1x1 convolutions, which squeeze and expand the channels by `reduction`.

    Shapes as kan_conv2d; the inside has max(1, channels_in // reduction) channels.
    """
    inside = max(1, channels_in // reduction)
    return nn.Sequential(
        convolution(channels_in, inside, 1, gain=gain),
        KanConv2d(inside, inside, kernel=kernel, basis=basis),
        convolution(inside, channels_out, 1, gain=LINEAR),
    )


@torch.no_grad()
def start(layer: nn.Linear | nn.Conv2d, expansion: Expansion, channels_in: int, noise: float) -> None:
    """Draw the weights of a contraction so that a standard normal input keeps its variance; the bias starts at 0."""
    if not 0 <= noise <= 1:
        raise ValueError(f"noise is {noise:g}, but 0 to 1 is allowed")
    first = channels_in if expansion.base else 0
    base, rest = layer.weight.tensor_split([first], 1)
    fan_in = channels_in * layer.weight[0, 0].numel()
    share = noise**2 if expansion.base else 1.0
    weight_of_basis = second_moment(expansion.basis).sum().item()
    nn.init.normal_(base, std=((1 - share) * SILU / fan_in) ** 0.5)
    nn.init.normal_(rest, std=(share / (fan_in * weight_of_basis)) ** 0.5)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
