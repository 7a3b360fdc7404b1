"""Strategies: what to try next. They ask nothing of the store and hold no truth of their own.

A strategy is registered with what makes it, `(space, objectives, seed, **options) -> Strategy`; `options` declares
what `--strategy-option` may set, and `lacks` which of FEATURES it does not do. What does not go together is refused
before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol, runtime_checkable

from nas.entry_options import accepted
from nas.job import Method
from nas.settings import SettingsError
from search_spaces.decisions import Architecture, Choice, Real, Repeat, Struct, every, identity
from search_spaces.registry import Entry, entries, find
from search_spaces.space import Space

REMEDIES = {
    "several objectives": "name one --objective",
    "constraints": "leave --constraint out",
    "schedules": "use --schedule none",
}
FEATURES = ("several objectives", "constraints", "conditions", "real numbers", "parallel asks", "schedules")


Measured = Mapping[str, float | None]
"""What predictors measured of an architecture, by column; None, or no column, where they could not."""


@dataclass(frozen=True)
class Proposal:
    """An architecture to try. `turn` numbers a study's asks; `note` is JSON the strategy wants back on replay.

    `parents` are the turns of the proposals it descends from, for its lineage. With a `method` it is a supernet to
    be trained, whose architecture says what the method is given; it is no trial of its own.
    """

    turn: int
    architecture: Architecture
    note: dict[str, Any] = field(default_factory=dict)
    parents: tuple[int, ...] = ()
    method: Method | None = None

    @cached_property
    def identity(self) -> str:
        """The SHA-256 that names the architecture."""
        return identity(self.architecture)


class Strategy(Protocol):
    """Answers `ask` with proposals and learns from `tell`.

    Randomness comes from (study seed, turn) alone. A study that resumes calls `remember` in place of each
    earlier `ask`, and `tell` as before, in the recorded order; the strategy then decides as if it had never stopped.
    """

    def ask(self, turn: int) -> Proposal | None:
        """Propose an architecture; None: wait for what is under way."""

    def remember(self, proposal: Proposal) -> None:
        """Take note of a proposal of an earlier run."""

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        """Learn how a proposal did: its objectives, all to be minimised.

        None: it was not judged, because it failed, was not chosen, or (not `feasible`) broke a constraint.
        """


@runtime_checkable
class Finder(Strategy, Protocol):
    """A strategy whose proposals may be supernets. `plan` says in a line or two what is shared, and what is not."""

    plan: str

    def found(self, turn: int, architectures: Sequence[Architecture]) -> None:
        """Learn what a supernet led to, the most promising first; it is told of as judged (None) right after."""


@runtime_checkable
class Chooser(Strategy, Protocol):
    """A strategy that looks at several of its own proposals and has the most promising one trained."""

    predictors: tuple[str, ...]
    """The zero-cost predictors whose scores it wants to see; they are computed by the workers."""

    def count(self, turn: int) -> int:
        """Say how many proposals, from this turn on, it wants to choose among; 1: the next as it comes."""

    def choose(self, proposals: Sequence[Proposal], measured: Sequence[Measured]) -> int:
        """Return the index of the proposal to be trained, of each of which is given what the predictors measured."""


def make_strategy(
    name: str, space: Space, objectives: int, seed: int, options: Mapping[str, Any] | None = None
) -> Strategy:
    """Make a registered strategy.

    Raises UnknownName, and SettingsError for options that it does not take, for several objectives where it takes
    one, and for a space with decisions that it cannot answer.
    """
    entry = find("strategy", name)
    needs = {"several objectives": f"got {objectives}"} if objectives > 1 else {}
    refuse(entry, needs | _needs(space))
    made: Strategy = entry.make(space, objectives, seed, **accepted(entry, options or {}))
    return made


def refuse(entry: Entry, needs: Mapping[str, str]) -> None:
    """Raise SettingsError when a strategy lacks a feature that is needed; `needs` says of each what asks for it."""
    for feature, why in needs.items():
        if feature in entry.lacks:
            able = [each.name for each in entries("strategy").values() if feature not in each.lacks]
            remedy = f"{REMEDIES[feature]}, or use" if feature in REMEDIES else "use"
            raise SettingsError(f"strategy {entry.name!r} does not do {feature} ({why}): {remedy} {', '.join(able)}")


def _needs(space: Space) -> dict[str, str]:
    """Return the features that a space asks of a strategy, each with its reason."""
    needs = {}
    for path, domain in every(space.tree).items():
        if isinstance(domain, Real):
            needs["real numbers"] = f"{path} of {space.name} is {domain}"
        elif (isinstance(domain, Choice) and any(_decides(inner) for inner in domain.inner.values())) or "#" in path:
            needs["conditions"] = f"{path} of {space.name} decides which others there are"
    return needs


def _decides(tree: Any) -> bool:
    return isinstance(tree, Struct | Repeat | Choice) and bool(every(tree))
