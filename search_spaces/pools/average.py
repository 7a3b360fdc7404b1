"""Averages over cells of the maps."""

from __future__ import annotations

from torch import Tensor, nn

from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register


@register("pool", "average", options=Struct(cells=Choice(1, 2, 4)))
class Average(nn.Module):
    """Each channel's mean over cells by cells windows, all in one vector.

    Shapes: [batch, channels, height, width] to [batch, channels·rows·columns], with min(cells, side) rows and columns.
    The windows are those of adaptive pooling where they are even, and else of equal sides that overlap.
    """

    def __init__(self, channels: int, size: tuple[int, int], cells: int = 1) -> None:
        super().__init__()
        if cells < 1:
            raise ValueError(f"cells is {cells}, but a whole number from 1 up is allowed")
        counts = [min(cells, side) for side in size]
        # Unlike adaptive pooling, windows of fixed sides are known to every export format.
        strides = [side // n for side, n in zip(size, counts, strict=True)]
        windows = [side - (n - 1) * stride for side, n, stride in zip(size, counts, strides, strict=True)]
        self.pool = nn.AvgPool2d((windows[0], windows[1]), (strides[0], strides[1]))
        self.out_features = channels * counts[0] * counts[1]

    def forward(self, x: Tensor) -> Tensor:
        pooled: Tensor = self.pool(x).flatten(1)
        return pooled
