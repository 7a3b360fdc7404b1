"""Trainable numbers that stay above a floor: floor + softplus(raw)."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional


def above(raw: Tensor, floor: float) -> Tensor:
    """Return floor + softplus(raw), in the dtype of `raw`."""
    return floor + functional.softplus(raw)


def raw_of(value: Tensor, floor: float) -> Tensor:
    """Return the raw numbers that `above` turns into `value`, which must lie above the floor."""
    return (value - floor).expm1().log()
