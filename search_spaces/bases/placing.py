"""Where a basis puts its new dimension."""

from __future__ import annotations

from torch import Tensor


def along(values: Tensor, ndim: int, dim: int) -> tuple[int, Tensor]:
    """Return the place of a new dimension in a tensor of `ndim`, and `values` [count] broadcastable along it."""
    place = dim % (ndim + 1)
    return place, values.view(-1, *[1] * (ndim - place))
