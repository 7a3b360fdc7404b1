"""What the activations that tell channels apart share: shaping [channels] parameters, and groups of neighbours."""

from __future__ import annotations

import torch
from torch import Tensor


def at_least_single(x: Tensor) -> Tensor:
    """Return x in float32, or as it is where it has float64: half precision is too coarse to work in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def per_channel(values: Tensor, x: Tensor) -> Tensor:
    """Return values [channels] in the precision and with the dimensions of x [batch, channels, ...]."""
    return values.to(x.dtype).view(-1, *[1] * (x.ndim - 2))


def grouped(x: Tensor, size: int, fill: float) -> Tensor:
    """Return x [batch, channels, ...] as groups of `size` neighbouring channels [batch, groups, size, ...].

    Where `size` does not divide the channels, the last group is smaller and made up with `fill`.
    """
    missing = -x.shape[1] % size
    if missing:
        x = torch.cat([x, torch.full_like(x[:, :1], fill).expand(-1, missing, *x.shape[2:])], 1)
    return torch.unflatten(x, 1, (-1, size))
