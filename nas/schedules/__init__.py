"""Schedules: which trials are worth going on with. Their state is rebuilt from the recorded verdicts."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Protocol

from search_spaces.registry import find


class Verdict(enum.StrEnum):
    """What a trial that waits at a pause does next."""

    CONTINUE = "continue"
    STOP = "stop"


class Schedule(Protocol):
    """Judges trials at their pauses. `pauses` are the epochs after which a trial waits for its verdict."""

    pauses: frozenset[int]

    def judge(self, step: int, losses: Sequence[float]) -> Verdict:
        """Say whether a trial that reached a pause with these objectives (all minimised) goes on.

        The judged losses become part of the schedule's state, so that replaying them in order rebuilds it.
        """


def make_schedule(name: str, epochs: int) -> Schedule:
    """Make a registered schedule for trials of so many epochs; raises UnknownName."""
    made: Schedule = find("schedule", name).make(epochs)
    return made
