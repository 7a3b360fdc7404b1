"""sharpDARTS: Faster and More Accurate Differentiable Architecture Search (Hundt et al. 2019, arXiv 1903.09900)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nas.differentiable.darts import gradient_of
from nas.differentiable.method import Method, Schedule
from nas.differentiable.settings import SearchError


def sharp_darts(power: float = 10.0, order: int = 1) -> Method:
    """Return the method: cosine power annealing of the weights' rate, and Max-W weights of the options."""
    return Method("sharp_darts", gradient_of(order), weighting=max_w, schedule=cosine_power(power))


def max_w(alpha: Tensor) -> Tensor:
    """Return 1 - max w + w [options], w = softmax(α): the strongest option always has the weight 1."""
    weights = torch.softmax(alpha, 0)
    return 1 - weights.max() + weights


def cosine_power(power: float) -> Schedule:
    """Return the schedule low + (high - low)·(p^{1+½(1+cos πt)} - p)/(p² - p), t the share of the search.

    Raises SearchError where the power p is not above 1, towards which the schedule becomes the plain cosine.
    """
    if not (math.isfinite(power) and power > 1):
        raise SearchError(f"the power of cosine power annealing is {power:g}, but a number above 1 is allowed")

    def rate(low: float, high: float, progress: float) -> float:
        risen: float = power ** (1 + (1 + math.cos(math.pi * progress)) / 2)
        return low + (high - low) * (risen - power) / (power**2 - power)

    return rate
