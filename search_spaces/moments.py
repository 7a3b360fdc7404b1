"""How large a function's values are for normal inputs, which is what an initialisation has to make up for.

A layer with weights from N(0, gain/fan_in), gain = 1/E[f(z)²] for a standard normal z, keeps the second moment of
what comes out of the function f before it (Delving Deep into Rectifiers has the case of ReLU, gain 2).
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import torch
from torch import Tensor, nn

REACH = 10.0
STEPS = 4001
SAMPLES = 4096


def second_moment(function: Callable[[Tensor], Tensor]) -> Tensor:
    """Return E[f(z)²] for a standard normal z, by the trapezoidal rule on [-10, 10] in float64.

    `function` maps [points] to [points] or, several functions at once, to [points, count]; the moments are [] or
    [count]. It must be element-wise in the points.
    """
    z = torch.linspace(-REACH, REACH, STEPS, dtype=torch.float64)
    density = torch.exp(-z.square() / 2)
    with torch.no_grad():
        values = function(z).double()
    moments: Tensor = torch.tensordot(density / density.sum(), values.square(), 1)
    return moments


def gain(activation: nn.Module, channels: int) -> float:
    """Return 1/E[f(z)²] of an activation over `channels` channels of standard normal inputs.

    Taken from a fixed sample of stratified normal numbers [4096, channels, 1, 1], each channel in its own order, for
    activations that mix channels too. Neither the activation nor torch's generator is changed. Error about 1 %.
    """
    generator = torch.Generator().manual_seed(0)
    strata = (torch.arange(SAMPLES, dtype=torch.float64) + 0.5) / SAMPLES
    normal = torch.special.ndtri(strata).float()
    order = torch.rand(SAMPLES, channels, generator=generator).argsort(0)
    with torch.no_grad():
        values = deepcopy(activation)(normal[order][..., None, None])
    return 1 / float(values.double().square().mean())
