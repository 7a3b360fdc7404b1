"""Schedules: which trials are worth going on with, and with what. They hold no truth of their own.

A schedule is registered with what makes it, `(epochs, space, seed, **options) -> Schedule`; `options` declares what
`--schedule-option` may set.

A schedule is told of everything in the order in which the store has it: `began`, `judge`, `ended` and `closing`. It
decides from that and from its seed alone, so the same calls in the same order give the same verdicts, and a study
that resumes replays them.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from nas.entry_options import accepted
from search_spaces.decisions import Architecture
from search_spaces.registry import find
from search_spaces.space import Space


class Verdict(enum.StrEnum):
    """What a trial that reached a pause does next; one that is told to pause frees its worker and waits."""

    CONTINUE = "continue"
    STOP = "stop"
    PAUSE = "pause"


@dataclass(frozen=True)
class Fork:
    """The verdict that ends a trial, for a new one that goes on from another's checkpoint with other decisions.

    `source` is the number of the trial whose checkpoint after `step` epochs is taken.
    """

    source: int
    step: int
    architecture: Architecture


Decided = Verdict | Fork


class Schedule(Protocol):
    """Judges trials, which are known by their numbers, at their pauses.

    `pauses` are the epochs after which a trial waits for its verdict, `retains` says whether the checkpoints there
    must stay for other trials to go on from.
    """

    pauses: frozenset[int]
    retains: bool

    def began(
        self, trial: int, architecture: Architecture, fork: Fork | None = None, replaced: int | None = None
    ) -> None:
        """Take note of a new trial; a fork's is told with the trial that it replaced."""

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Decided:
        """Say whether a trial that reached a pause with these objectives (all minimised) goes on."""

    def ended(self, trial: int) -> None:
        """Take note that a trial ended, however it did; it is not told of a trial that its own verdict ended."""

    def closing(self) -> None:
        """Take note that no more trials will begin, other than forks, until the study is given more."""

    def released(self) -> list[tuple[int, Decided]]:
        """Return what is decided of paused trials since it was last asked: continue, stop or fork, each once."""


def make_schedule(
    name: str, epochs: int, space: Space, seed: int = 0, options: Mapping[str, Any] | None = None
) -> Schedule:
    """Make a registered schedule for trials of a space with so many epochs.

    Raises UnknownName, and SettingsError for options that it does not take, for epochs that leave it nothing to judge
    and for a space in which it could change nothing.
    """
    entry = find("schedule", name)
    made: Schedule = entry.make(epochs, space, seed, **accepted(entry, options or {}))
    return made
