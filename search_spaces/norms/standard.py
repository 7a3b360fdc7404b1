"""The usual normalisations, torch's own modules."""

from __future__ import annotations

from torch import nn

from search_spaces.registry import register


@register("norm", "batch", paper="Batch Normalization", lacks=["vmap"])
def batch(channels: int) -> nn.Module:
    """Each channel by its mean and variance over the batch; running averages at inference."""
    return nn.BatchNorm2d(channels)


@register("norm", "group", paper="Group Normalization")
def group(channels: int, groups: int = 8) -> nn.Module:
    """Each sample by groups of channels: 8, or the largest number below that divides the channels."""
    return nn.GroupNorm(max(n for n in range(1, groups + 1) if channels % n == 0), channels)


@register("norm", "layer", paper="Layer Normalization")
def layer(channels: int) -> nn.Module:
    """Each sample over all its channels and places, with a scale and a shift for each channel."""
    return nn.GroupNorm(1, channels)


@register("norm", "none")
def none(channels: int) -> nn.Module:
    """No normalisation."""
    return nn.Identity()
