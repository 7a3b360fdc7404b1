"""No schedule: every trial trains in full."""

from __future__ import annotations

from nas.schedules import Schedule, Verdict
from nas.schedules.immediate import Immediate
from search_spaces.registry import register
from search_spaces.space import Space


@register("schedule", "none")
def full(epochs: int, space: Space, seed: int) -> Schedule:
    """Every trial trains for all its epochs."""
    return Immediate((), lambda trial, step, losses: Verdict.CONTINUE)
