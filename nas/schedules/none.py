"""No schedule: every trial trains in full."""

from __future__ import annotations

from collections.abc import Sequence

from nas.schedules import Schedule, Verdict
from nas.schedules.immediate import Immediate
from search_spaces.registry import register
from search_spaces.space import Space


@register("schedule", "none")
def full(epochs: int, space: Space, seed: int) -> Schedule:
    """Every trial trains for all its epochs."""
    return Immediate((), Full())


class Full:
    """Stops nobody."""

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Verdict:
        return Verdict.CONTINUE

    def note(self, trial: int, step: int, losses: Sequence[float]) -> None:
        """There is nothing to keep."""
