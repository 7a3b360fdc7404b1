"""Pooling by association with learned queries (Hopfield Networks is All You Need)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.layers.tokens import split
from search_spaces.registry import register


@register("pool", "hopfield_pool", paper="Hopfield Networks is All You Need", options=Struct(queries=Choice(1, 4)))
class HopfieldPool(nn.Module):
    """softmax(β·q·Kᵀ)·V with learned state patterns q; keys K and values V are 1x1 maps of the places.

    Shapes: [batch, channels, height, width] to [batch, queries·channels]. β is 1/√channels by default, as in the
    paper; large β retrieves single places, β = 0 averages over all. One update of the state, one head. Left out: the
    layer normalisation of the patterns, which is the norm's matter, further updates and several heads. The queries
    start at N(0, 1). `size` is not used: the layer pools maps of any size.
    """

    def __init__(self, channels: int, size: tuple[int, int], queries: int = 1, beta: float | None = None) -> None:
        super().__init__()
        if queries < 1:
            raise ValueError(f"queries is {queries}, but a whole number from 1 up is allowed")
        if beta is not None and beta < 0:
            raise ValueError(f"beta is {beta:g}, but a number from 0 up is allowed")
        self.out_features = queries * channels
        self.beta = channels**-0.5 if beta is None else beta
        self.queries = nn.Parameter(torch.randn(queries, channels))
        self.key = convolution(channels, channels, 1, gain=LINEAR)
        self.value = convolution(channels, channels, 1, gain=LINEAR)

    def forward(self, x: Tensor) -> Tensor:
        key, value = split(self.key(x), 1), split(self.value(x), 1)
        shares = (self.beta * self.queries @ key.mT).softmax(-1)
        return (shares @ value).flatten(1)

    def extra_repr(self) -> str:
        return f"queries={len(self.queries)}, beta={self.beta:.3g}"
