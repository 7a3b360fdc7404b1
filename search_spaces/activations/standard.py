"""The usual activations, torch's own modules."""

from __future__ import annotations

from torch import nn

from search_spaces.registry import register


@register("activation", "relu")
def relu(channels: int) -> nn.Module:
    """max(0, x)."""
    return nn.ReLU()


@register("activation", "gelu", paper="Gaussian Error Linear Units")
def gelu(channels: int) -> nn.Module:
    """x·Φ(x), with the exact normal distribution function Φ."""
    return nn.GELU()


@register("activation", "silu", paper="Sigmoid-Weighted Linear Units for Neural Network Function Approximation")
def silu(channels: int) -> nn.Module:
    """x·sigmoid(x), also called swish."""
    return nn.SiLU()
