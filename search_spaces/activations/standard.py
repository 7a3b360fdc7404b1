"""The usual activations, torch's own modules. Any shape.

Weights from N(0, gain/fan_in) keep the second moment through many layers of most of them, but mish, gelu, silu and
hardswish pass on more than in proportion: at q = 1 the slope of log E[f(√q·z)²] over log q is 1.08, 1.14, 1.17 and
1.22, and what a layer of finite width is off by grows by as much with every layer. Behind a normalisation it does not.
"""

from __future__ import annotations

from torch import nn

from search_spaces.registry import register


@register("activation", "relu")
def relu(channels: int) -> nn.Module:
    """max(0, x)."""
    return nn.ReLU()


@register("activation", "gelu", paper="Gaussian Error Linear Units (GELUs)")
def gelu(channels: int) -> nn.Module:
    """x·Φ(x), with the exact normal distribution function Φ."""
    return nn.GELU()


@register(
    "activation",
    "silu",
    paper="Sigmoid-Weighted Linear Units for Neural Network Function Approximation in Reinforcement Learning",
)
def silu(channels: int) -> nn.Module:
    """x·sigmoid(x), also called swish."""
    return nn.SiLU()


@register("activation", "tanh")
def tanh(channels: int) -> nn.Module:
    """(e^x - e^-x)/(e^x + e^-x)."""
    return nn.Tanh()


@register("activation", "mish", paper="Mish: A Self Regularized Non-Monotonic Activation Function")
def mish(channels: int) -> nn.Module:
    """x·tanh(ln(1 + e^x))."""
    return nn.Mish()


@register("activation", "hardswish", paper="Searching for MobileNetV3")
def hardswish(channels: int) -> nn.Module:
    """x·min(max(x + 3, 0), 6)/6, swish in pieces of a parabola and lines."""
    return nn.Hardswish()


@register("activation", "elu", paper="Fast and Accurate Deep Network Learning by Exponential Linear Units (ELUs)")
def elu(channels: int) -> nn.Module:
    """x above 0, e^x - 1 below."""
    return nn.ELU()


@register(
    "activation",
    "softplus",
    paper="Incorporating Second-Order Functional Knowledge for Better Option Pricing",
)
def softplus(channels: int) -> nn.Module:
    """ln(1 + e^x); x itself above 20, where float32 cannot tell them apart."""
    return nn.Softplus()


@register("activation", "identity")
def identity(channels: int) -> nn.Module:
    """x, no activation."""
    return nn.Identity()
