"""What tells one procedure of differentiable search from another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from nas.differentiable.bilevel import Gradient
from search_spaces.mixtures.strengths import Weighting, softmax

Schedule = Callable[[float, float, float], float]


def cosine(low: float, high: float, progress: float) -> float:
    """Return the rate after a share of the search in [0, 1]: half a cosine from high to low."""
    return low + (high - low) * (1 + math.cos(math.pi * progress)) / 2


def leave(network: nn.Module) -> None:
    """Leave a network as it is."""


def leave_step(network: nn.Module, step: int) -> None:
    """Leave a network as it is after a step."""


@dataclass(frozen=True)
class Method:
    """How strengths are trained: their gradient, what weights they give, and the rate of the weights.

    `prepare` is called with the network that was built, `adjust` after each step of the strengths, counted from 0.
    """

    name: str
    gradient: Gradient
    weighting: Weighting = softmax
    schedule: Schedule = cosine
    prepare: Callable[[nn.Module], None] = leave
    adjust: Callable[[nn.Module, int], None] = leave_step
