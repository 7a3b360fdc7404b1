"""Random search: every proposal an independent draw."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from nas.strategies import Proposal
from search_spaces.registry import register
from search_spaces.space import Space


@register("strategy", "random", paper="Bergstra and Bengio, Random Search for Hyper-Parameter Optimization, 2012")
class RandomSearch:
    """Every decision drawn evenly over its domain; the baseline of all others."""

    def __init__(self, space: Space, objectives: int, seed: int) -> None:
        self._space = space
        self._seed = seed

    def ask(self, turn: int) -> Proposal:
        return Proposal(turn, self._space.draw(Random(f"{self._seed}/{turn}")))

    def remember(self, proposal: Proposal) -> None:
        """Nothing to note: no draw depends on another."""

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        """Nothing to learn."""
