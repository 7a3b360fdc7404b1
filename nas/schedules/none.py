"""No schedule: every trial trains in full."""

from __future__ import annotations

from collections.abc import Sequence

from nas.schedules import Verdict
from search_spaces.registry import register


@register("schedule", "none")
class Full:
    """Every trial trains for all its epochs."""

    def __init__(self, epochs: int) -> None:
        self.pauses: frozenset[int] = frozenset()

    def judge(self, step: int, losses: Sequence[float]) -> Verdict:
        return Verdict.CONTINUE
