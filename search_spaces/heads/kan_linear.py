"""A last layer of learned functions."""

from __future__ import annotations

from torch import nn

from search_spaces.decisions import Architecture
from search_spaces.layers.kan import KanLinear
from search_spaces.registry import register


@register("head", "kan_linear", paper="KAN: Kolmogorov-Arnold Networks")
def kan_linear(features: int, classes: int, basis: Architecture = "rbf") -> nn.Module:
    """logit_c = Σ_i φ_ci(x_i) + b_c, each φ a learned function: silu and the functions of a basis."""
    return KanLinear(features, classes, basis)
