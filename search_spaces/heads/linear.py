"""The usual last layer of a classifier."""

from __future__ import annotations

from torch import nn

from search_spaces.registry import register


@register("head", "linear")
def linear(features: int, classes: int) -> nn.Module:
    """W·x + b, torch's own linear layer: a vector for each class."""
    return nn.Linear(features, classes)
