"""Activations that sort groups of channels: 1-Lipschitz, and they keep every norm and the norm of gradients."""

from __future__ import annotations

import math

from torch import Tensor, nn

from search_spaces.activations.channels import grouped
from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

PAPER = (
    "Novel Quadratic Constraints for Extending LipSDP beyond Slope-Restricted Activations; "
    "Sorting Out Lipschitz Function Approximation"
)


@register("activation", "groupsort", paper=PAPER, options=Struct(size=Choice(4, 8)))
class GroupSort(nn.Module):
    """Sort each group of neighbouring channels, the largest first; 1-Lipschitz.

    Shapes: [batch, channels, ...] to the same, each place on its own. Where `size` does not divide the channels, the
    last group is smaller, and a last channel alone stays as it is.
    """

    def __init__(self, channels: int, size: int = 4) -> None:
        super().__init__()
        if size < 2:
            raise ValueError(f"groups to sort have at least 2 channels, but got {size}")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        ordered = grouped(x, self.size, -math.inf).sort(2, descending=True).values
        return ordered.flatten(1, 2)[:, : x.shape[1]]

    def extra_repr(self) -> str:
        return f"size={self.size}"


@register("activation", "maxmin", paper=PAPER)
def maxmin(channels: int) -> nn.Module:
    """Each pair of neighbouring channels becomes its maximum and its minimum; 1-Lipschitz.

    Shapes: [batch, channels, ...] to the same. A last channel without a partner stays as it is.
    """
    return GroupSort(channels, 2)
