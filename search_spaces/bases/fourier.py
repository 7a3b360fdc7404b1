"""Sines and cosines (FKAN; Fourier-KArAt)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Integer, Struct
from search_spaces.registry import register


@register(
    "basis",
    "fourier",
    paper="Implicit Neural Representations with Fourier Kolmogorov-Arnold Networks (FKAN); "
    "Kolmogorov-Arnold Attention: Is Learnable Attention Better For Vision Transformers? (Fourier-KArAt)",
    options=Struct(frequencies=Integer(2, 5)),
)
class Fourier(nn.Module):
    """cos x .. cos Kx, then sin x .. sin Kx, K the number of frequencies.

    Shapes: [...] to [..., 2K], the new dimension at `dim`. Only cos x and sin x are worked out as such: both
    families follow f_{k+1} = 2·cos(x)·f_k - f_{k-1}. The period is 2π, which holds most normalised inputs; beyond,
    the functions repeat. The papers' constant term is left out, as it is the bias of the layer. Half precision is
    worked out in float32.
    """

    def __init__(self, frequencies: int = 4) -> None:
        super().__init__()
        if frequencies < 1:
            raise ValueError(f"the number of frequencies is at least 1, but got {frequencies}")
        self.frequencies = frequencies
        self.count = 2 * frequencies

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        cosines, sines = self._terms(x)
        return torch.stack(cosines + sines, dim).to(x.dtype)

    def slopes(self, x: Tensor, dim: int = -1) -> Tensor:
        """Return the derivatives of all functions at x, shaped as `forward` returns the values."""
        return self.with_slopes(x, dim)[1]

    def with_slopes(self, x: Tensor, dim: int = -1) -> tuple[Tensor, Tensor]:
        """Return the values and the derivatives, which have most of the work in common."""
        cosines, sines = self._terms(x)
        falling = [-k * sine for k, sine in enumerate(sines, start=1)]
        rising = [k * cosine for k, cosine in enumerate(cosines, start=1)]
        return torch.stack(cosines + sines, dim).to(x.dtype), torch.stack(falling + rising, dim).to(x.dtype)

    def _terms(self, x: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        cosines, sines = [torch.ones_like(wide), wide.cos()], [torch.zeros_like(wide), wide.sin()]
        twice = 2 * cosines[1]
        for terms in (cosines, sines):
            while len(terms) <= self.frequencies:
                terms.append((twice * terms[-1]).sub_(terms[-2]))
        return cosines[1:], sines[1:]

    def extra_repr(self) -> str:
        return f"frequencies={self.frequencies}"
