"""Generalised divisive normalisation (Density Modeling of Images using a Generalized Normalization Transformation)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single, per_channel
from search_spaces.registry import register

LOWEST_BETA = 1e-6


@register("activation", "gdn", paper="Density Modeling of Images using a Generalized Normalization Transformation")
class GDN(nn.Module):
    """x_i/(β_i + Σ_j γ_ij·|x_j|^α)^ε with α = 2 and ε = 1/2, β and γ trainable and positive.

    Shapes: [batch, channels, ...] to the same, the sum over the channels of each place. The parameters are roots,
    β = root² + 1e-6 and γ = root², so that no step of training makes them negative. At the start β = 1 and γ is 0.1 on
    the diagonal and 1e-6 beside it, for a root of 0 would have no gradient. Left out: training α and ε, which the later
    work on image compression does not do either, and the inverse transformation.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        gamma = torch.full((channels, channels), 1e-6).fill_diagonal_(0.1)
        self.beta_root = nn.Parameter(torch.full((channels,), (1 - LOWEST_BETA) ** 0.5))
        self.gamma_root = nn.Parameter(gamma.sqrt())

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        beta = self.beta_root.to(wide.dtype).square() + LOWEST_BETA
        gamma = self.gamma_root.to(wide.dtype).square()
        with torch.autocast(x.device.type, enabled=False):
            energy = torch.einsum("ij,bj...->bi...", gamma, wide.square())
        return (wide * torch.rsqrt(per_channel(beta, wide) + energy)).to(x.dtype)
