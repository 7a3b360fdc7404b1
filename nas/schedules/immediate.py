"""Schedules whose verdicts come at once: they pause no trial, and hear of trials by their objectives alone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol

from nas.schedules import Decided, Fork, Verdict
from search_spaces.decisions import Architecture


class Rule(Protocol):
    """What judges trials by their objectives; what it was told of one it keeps for the next."""

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Verdict:
        """Say whether a trial that reached a pause goes on."""

    def note(self, trial: int, step: int, losses: Sequence[float]) -> None:
        """Keep what `judge` would keep, where the verdict is known: that takes no time."""


class Immediate:
    """A schedule made of its pauses and a rule."""

    retains = False

    def __init__(self, pauses: Collection[int], rule: Rule) -> None:
        self.pauses = frozenset(pauses)
        self._rule = rule

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Decided:
        return self._rule.judge(trial, step, losses)

    def note(self, trial: int, step: int, losses: Sequence[float]) -> None:
        """Take note of a trial at a pause whose verdict is known."""
        self._rule.note(trial, step, losses)

    def began(
        self, trial: int, architecture: Architecture, fork: Fork | None = None, replaced: int | None = None
    ) -> None:
        """A verdict rests on objectives alone."""

    def ended(self, trial: int) -> None:
        """What a trial reached counts for others after its end, too."""

    def closing(self) -> None:
        """No verdict waits for another trial."""

    def released(self) -> list[tuple[int, Decided]]:
        return []
