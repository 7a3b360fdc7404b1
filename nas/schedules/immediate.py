"""Schedules whose verdicts come at once: they pause no trial, and hear of trials by their objectives alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from nas.schedules import Decided, Fork, Verdict
from search_spaces.decisions import Architecture

Judge = Callable[[int, int, Sequence[float]], Verdict]


class Immediate:
    """A schedule made of its pauses and of `judge(trial, step, losses)`."""

    retains = False

    def __init__(self, pauses: Collection[int], judge: Judge) -> None:
        self.pauses = frozenset(pauses)
        self._judge = judge

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Decided:
        return self._judge(trial, step, losses)

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
