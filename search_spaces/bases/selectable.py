"""A mixture of several bases that ends as one of them (Activation Space Selectable Kolmogorov-Arnold Networks).

    b(x) = [g_1·b¹(x), g_2·b²(x), ...]    g = softmax(strength / temperature)

A training goes through three phases: full training of all candidates at temperature 1, selection with a falling
temperature, and, the strongest candidate chosen, training of that one alone with a gate of exactly 1. The paper
selects for every node; here it is done for every layer, whose edges share their bases. `layers.selection` moves a
layer from phase to phase and prunes it in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from search_spaces.decisions import Architecture
from search_spaces.registry import make, register

CANDIDATES = ("bspline", "rbf", "chebyshev", "fourier")


@register("basis", "selectable", paper="Activation Space Selectable Kolmogorov-Arnold Networks")
class Selectable(nn.Module):
    """[g_1·b¹(x), g_2·b²(x), ...], g = softmax(strength/temperature): a learned mixture of bases, pruned to one.

    Shapes: [...] to [..., count], count the sum over the candidates, the new dimension at `dim`. The candidates are
    B-splines, Gaussians, Chebyshev polynomials and a Fourier series unless others are named.
    """

    temperature: Tensor
    barred: Tensor

    def __init__(self, bases: Sequence[Architecture] = CANDIDATES) -> None:
        super().__init__()
        if len(bases) < 2:
            raise ValueError(f"a selection needs two bases at least, but got {list(bases)}")
        made = [make("basis", basis) for basis in bases]
        self.bases = nn.ModuleList(made)
        self.counts: list[int] = [basis.count for basis in made]
        self.count = sum(self.counts)
        self.strength = nn.Parameter(torch.zeros(len(self.counts)))
        self.register_buffer("temperature", torch.ones(()))
        # 0 for candidates, minus infinity for those that were not chosen.
        self.register_buffer("barred", torch.zeros(len(self.counts)))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        return side_by_side(x, self.bases, self.gates(), dim)

    def gates(self) -> Tensor:
        """Return the weights of the candidates [candidates], which add up to 1; a chosen one has exactly 1."""
        return torch.softmax(self.strength.float() / self.temperature + self.barred, 0)

    def choose(self, index: int) -> None:
        """Choose a candidate for good."""
        self.barred.fill_(-torch.inf)
        self.barred[index] = 0.0

    @property
    def chosen(self) -> int | None:
        """The candidate that was chosen, or None."""
        left = (self.barred == 0).nonzero().flatten().tolist()
        return left[0] if len(left) == 1 else None


def side_by_side(x: Tensor, bases: Iterable[nn.Module], gates: Tensor, dim: int) -> Tensor:
    """Return [g_1·b¹(x), g_2·b²(x), ...] along a new dimension at `dim`."""
    place = dim % (x.ndim + 1)
    return torch.cat([gate.to(x.dtype) * basis(x, place) for gate, basis in zip(gates, bases, strict=True)], place)
