"""Keep the largest activities only (k-Sparse Autoencoders)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Real, Struct
from search_spaces.registry import register


@register("activation", "topk", paper="k-Sparse Autoencoders", options=Struct(share=Real(0.1, 0.5)))
class TopK(nn.Module):
    """x where it is among the k largest of its sample, else 0; k a share of the channels.

    Shapes: [batch, channels, ...] to the same. The sample of a map is the channels at one place, so that k does not
    depend on the resolution; of equal values exactly as many are kept as make up k. k is the share times the channels,
    rounded, and at least 1. Left out: the paper's larger k at inference.
    """

    def __init__(self, channels: int, share: float = 0.25) -> None:
        super().__init__()
        if not 0 < share <= 1:
            raise ValueError(f"the share of channels that is kept lies above 0 and up to 1, but got {share}")
        self.k = max(1, round(share * channels))

    def forward(self, x: Tensor) -> Tensor:
        largest, places = x.topk(self.k, 1)
        return torch.zeros_like(x).scatter(1, places, largest)

    def extra_repr(self) -> str:
        return f"k={self.k}"
