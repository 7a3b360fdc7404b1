"""Variation of architectures: how far a mutation moves a decision, and how many decisions it redraws."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from nas.strategies.units import share_of, value_at
from search_spaces import decisions
from search_spaces.decisions import Choice, Decision, Scalar

LOCAL = 0.5
SPREAD = 0.1
STEPS = 8
RISE = 1.5
MOST = 16.0


def nudge(domain: Decision, value: Scalar, rng: Random) -> Scalar:
    """Draw another value: of a number, every other time one near the old value, else an even draw.

    Near is a normal step of a tenth of the range, in the logarithm where the domain is so.
    """
    if isinstance(domain, Choice) or rng.random() >= LOCAL:
        return decisions.redraw(domain, value, rng)
    share = share_of(domain, value)
    for _ in range(STEPS):
        moved = value_at(domain, min(max(share + rng.gauss(0, SPREAD), 0.0), 1.0))
        if moved != value:
            return moved
    return decisions.redraw(domain, value, rng)


@dataclass
class Rate:
    """How many decisions a mutation redraws on average, between 1 and 16; it learns from the children it made.

    A child that beats its parent raises it by the factor 1.5, and any other lowers it by the fourth root of that, so
    that it stands still when one child in five is a success (Rechenberg, Evolutionsstrategie, 1973).
    """

    mean: float
    adaptive: bool = True

    def learn(self, success: bool) -> None:
        """Note whether a child beat its parent."""
        if self.adaptive:
            factor = RISE if success else RISE**-0.25
            self.mean = min(max(self.mean * factor, 1.0), MOST)

    def draw(self, decided: int, rng: Random) -> int:
        """Draw how many of so many decisions to redraw: the mean on average, at least one and at most half of them."""
        whole, rest = divmod(self.mean, 1)
        return max(1, min(int(whole) + (rng.random() < rest), decided // 2))
