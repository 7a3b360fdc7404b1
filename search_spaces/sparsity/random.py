"""Random pruning before training, with a density for each layer by the Erdős-Rényi-kernel rule.

The Unreasonable Effectiveness of Random Pruning; the rule is from Rigging the Lottery (RigL).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from search_spaces.decisions import Real, Struct
from search_spaces.registry import register
from search_spaces.sparsity.masking import weighted


class FixedMask(nn.Module):
    """W·M with a mask M [same shape] of zeros and ones that never changes."""

    mask: Tensor

    def __init__(self, mask: Tensor) -> None:
        super().__init__()
        self.register_buffer("mask", mask)

    def forward(self, weight: Tensor) -> Tensor:
        return weight * self.mask

    def kept(self, weight: Tensor) -> int:
        return int(self.mask.sum())


def erk_densities(shapes: Sequence[Sequence[int]], density: float) -> list[float]:
    """Return a density for each weight so that the whole has the given one.

    A weight's density is proportional to (sum of its shape) / (product of its shape): small layers stay
    denser. Those that would exceed 1 are kept whole, and the rest shares what is left.
    """
    sizes = [math.prod(shape) for shape in shapes]
    ratios = [sum(shape) / size for shape, size in zip(shapes, sizes, strict=True)]
    whole: set[int] = set()
    scale = 0.0
    while len(whole) < len(shapes):
        rest = [i for i in range(len(shapes)) if i not in whole]
        budget = density * sum(sizes) - sum(sizes[i] for i in whole)
        scale = budget / sum(ratios[i] * sizes[i] for i in rest)
        over = {i for i in rest if scale * ratios[i] > 1}
        if not over:
            break
        whole |= over
    return [1.0 if i in whole else scale * ratio for i, ratio in enumerate(ratios)]


@register(
    "sparsity",
    "random",
    paper="The Unreasonable Effectiveness of Random Pruning",
    options=Struct(density=Real(0.1, 0.9)),
)
class RandomPruning:
    """A fixed random mask on each weight, drawn from torch's global generator; layer densities by ERK.

    What is left is scaled by density^-½, so that the outputs keep their variance (the paper does not).
    """

    def __init__(self, density: float = 0.5) -> None:
        if not 0 < density <= 1:
            raise ValueError(f"the density of a random mask is above 0 and at most 1, but got {density:g}")
        self.density = density

    def __call__(self, module: nn.Module) -> None:
        layers = weighted(module)
        for layer, density in zip(layers, erk_densities([i.weight.shape for i in layers], self.density), strict=True):
            size = layer.weight.numel()
            kept = max(1, round(density * size))
            mask = torch.zeros(size, dtype=torch.bool, device=layer.weight.device)
            mask[torch.randperm(size, device=mask.device)[:kept]] = True
            with torch.no_grad():
                layer.weight.mul_((size / kept) ** 0.5)
            parametrize.register_parametrization(layer, "weight", FixedMask(mask.view(layer.weight.shape)))
