"""Places as tokens: between maps [batch, heads·size, height, width] and tokens [batch, heads, places, size]."""

from __future__ import annotations

from torch import Tensor


def split(maps: Tensor, heads: int) -> Tensor:
    """Return the places of maps as the tokens of `heads` heads."""
    # Fused attention asks for sizes that lie side by side; else it would write all logits to memory.
    batch, channels, height, width = maps.shape
    return maps.view(batch, heads, channels // heads, height * width).transpose(2, 3).contiguous()


def join(tokens: Tensor, height: int, width: int) -> Tensor:
    """Return the maps whose places the tokens are; the inverse of `split`."""
    return tokens.transpose(2, 3).flatten(1, 2).reshape(len(tokens), -1, height, width)
