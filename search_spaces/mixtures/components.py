"""What `make` builds of a relaxed choice: one component that holds all options, weighted by their strengths.

Most kinds add up what their options return. A mixed wiring evaluates its body once and a mixed basis puts its options
side by side, each times its weight. With weights of exactly one 1 and else 0 a mixture computes what that option does.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from search_spaces.bases.selectable import side_by_side
from search_spaces.mixtures.answers import Mixed
from search_spaces.mixtures.strengths import Strength, weighted
from search_spaces.registry import make


class Blend(nn.Module):
    """Σ_i w_i·option_i(x); the options take the same inputs and return the same shape."""

    def __init__(self, kind: str, mixed: Mixed, *args: Any) -> None:
        super().__init__()
        self.strength = Strength(mixed)
        self.options = nn.ModuleList(make(kind, option, *args) for option in mixed.options)

    def forward(self, x: Tensor) -> Tensor:
        return weighted(self.strength(), (option(x) for option in self.options))


class BlendedBasis(nn.Module):
    """[w_1·b¹(x), w_2·b²(x), ...]. Shapes: [...] to [..., count], count the sum over the options, at `dim`."""

    def __init__(self, kind: str, mixed: Mixed, *args: Any) -> None:
        super().__init__()
        self.strength = Strength(mixed)
        self.bases = nn.ModuleList(make(kind, option, *args) for option in mixed.options)
        self.counts: list[int] = [basis.count for basis in self.bases]  # type: ignore[misc]
        self.count = sum(self.counts)

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        return side_by_side(x, self.bases, self.strength(), dim)


class Given(nn.Module):
    """Stands in for a body whose value at x is known already."""

    def __init__(self) -> None:
        super().__init__()
        self.known: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.known is None or self.known[0] is not x:
            raise ValueError("a wiring that gives its body anything but its own input cannot be in a mixture")
        return self.known[1]


class BlendedWiring(nn.Module):
    """Σ_i w_i·wiring_i(x), all of them around one body, which is evaluated once.

    Raises ValueError in the forward pass for a wiring that does not give its body the input x itself.
    """

    def __init__(self, kind: str, mixed: Mixed, body: nn.Module, *args: Any) -> None:
        super().__init__()
        self.strength = Strength(mixed)
        self.body = body
        self.given = Given()
        self.options = nn.ModuleList(make(kind, option, self.given, *args) for option in mixed.options)

    def forward(self, x: Tensor) -> Tensor:
        self.given.known = x, self.body(x)
        try:
            return weighted(self.strength(), (option(x) for option in self.options))
        finally:
            self.given.known = None


BLENDS: dict[str, Callable[..., nn.Module]] = {"wiring": BlendedWiring, "basis": BlendedBasis}


def blend(kind: str, mixed: Mixed, *args: Any) -> nn.Module:
    """Make the mixture of the components of a kind; the arguments are those of an ordinary one."""
    return BLENDS.get(kind, Blend)(kind, mixed, *args)
