"""Semi-structured sparsity: at most n of every m neighbouring weights are not zero.

Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch (without its decay of masked weights).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from search_spaces.registry import register
from search_spaces.sparsity.masking import weighted


class NMMask(nn.Module):
    """W·M(W), where M keeps the n largest magnitudes of every m weights along the input channels.

    The mask follows the current weights, and the gradient passes it straight through, so that masked
    weights may return. Shapes: [out, in, ...] to the same, where m divides in.
    """

    def __init__(self, n: int, m: int) -> None:
        super().__init__()
        self.n, self.m = n, m

    def forward(self, weight: Tensor) -> Tensor:
        grouped = torch.unflatten(weight.movedim(1, -1), -1, (-1, self.m))
        largest = grouped.abs().topk(self.n, -1).indices
        mask = torch.zeros_like(grouped).scatter(-1, largest, 1.0).flatten(-2).movedim(-1, 1)
        return weight + (weight * mask - weight).detach()

    def kept(self, weight: Tensor) -> int:
        return weight.numel() * self.n // self.m


@register("sparsity", "n_m", paper="Learning N:M Fine-grained Structured Sparse Neural Networks From Scratch")
class SemiStructured:
    """2 of every 4 weights along the input channels, chosen anew by magnitude in every forward pass.

    Weights whose input channels 4 does not divide are left whole, as the hardware asks.
    """

    def __init__(self, n: int = 2, m: int = 4) -> None:
        if not 0 < n < m:
            raise ValueError(f"n:m sparsity needs 0 < n < m, but got {n}:{m}")
        self.n, self.m = n, m

    def __call__(self, module: nn.Module) -> None:
        for layer in weighted(module):
            if layer.weight.shape[1] % self.m == 0:
                parametrize.register_parametrization(layer, "weight", NMMask(self.n, self.m))
