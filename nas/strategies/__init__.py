"""Strategies: what to try next. They ask nothing of the store and hold no truth of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from nas.settings import SettingsError
from search_spaces.decisions import Architecture
from search_spaces.registry import entries, find
from search_spaces.space import Space


@dataclass(frozen=True)
class Proposal:
    """An architecture to try. `turn` numbers a study's asks; `note` is JSON the strategy wants back on replay."""

    turn: int
    architecture: Architecture
    note: dict[str, Any] = field(default_factory=dict)


class Strategy(Protocol):
    """Answers `ask` with proposals and learns from `tell`.

    Randomness comes from (study seed, turn) alone. A study that resumes calls `remember` in place of each
    earlier `ask`, and `tell` as before, in the recorded order; the strategy then decides as if it had never stopped.
    """

    def ask(self, turn: int) -> Proposal:
        """Propose an architecture."""

    def remember(self, proposal: Proposal) -> None:
        """Take note of a proposal of an earlier run."""

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        """Learn how a proposal did: its objectives, all to be minimised.

        None: it was not judged, because it failed, was not chosen, or (not `feasible`) broke a constraint.
        """


def make_strategy(name: str, space: Space, objectives: int, seed: int) -> Strategy:
    """Make a registered strategy; raises UnknownName, or SettingsError when it cannot do several objectives."""
    entry = find("strategy", name)
    if objectives > 1 and "several objectives" in entry.lacks:
        able = [each.name for each in entries("strategy").values() if "several objectives" not in each.lacks]
        raise SettingsError(f"strategy {name!r} takes one objective, but got {objectives}: use {', '.join(able)}")
    made: Strategy = entry.make(space, objectives, seed)
    return made
