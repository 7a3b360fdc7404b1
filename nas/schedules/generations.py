"""A population of trials in generations: the worst leave, and copies of the best with other decisions take their place.

All trials that begin until no more are to come are one population. They wait for each other at every pause; there the
worst share of them are ended, and for each a new trial, its fork, goes on from the checkpoint of one of the equally
many best. A trial that ends by itself leaves its population.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Protocol

from nas.schedules import Decided, Fork, Verdict
from nas.schedules.order import finite, places
from nas.settings import SettingsError
from search_spaces.decisions import Architecture

Losses = tuple[float, ...]
ROUNDING = 1e-9


@dataclass(frozen=True)
class Member:
    """A trial at a pause, with its objectives there and at the pause before, where it or its origin had one."""

    trial: int
    architecture: Architecture
    losses: Losses
    before: Losses | None


@dataclass(frozen=True)
class Exploit:
    """That one member is replaced by a fork of another. Whatever is random about the fork comes from `rng`."""

    loser: Member
    source: Member
    rng: Random


@dataclass(frozen=True)
class Generation:
    """The members of a population after so many epochs, the best first, and who of them is replaced."""

    step: int
    members: tuple[Member, ...]
    exploits: tuple[Exploit, ...]


class Explorer(Protocol):
    """Chooses the decisions of forks. It sees every generation once, also one in which nobody is replaced."""

    def explore(self, generation: Generation) -> list[Architecture]:
        """Return the architecture of the fork for each exploit of a generation."""


@dataclass
class Population:
    """The living members, their objectives at this pause and the last one, and the trials whose forks are to begin.

    `origin` names the trial, itself or the source of the fork, whose objectives a member had at the last pause.
    """

    architecture: dict[int, Architecture] = field(default_factory=dict)
    origin: dict[int, int] = field(default_factory=dict)
    arrived: dict[int, Losses] = field(default_factory=dict)
    last: dict[int, Losses] = field(default_factory=dict)
    awaited: set[int] = field(default_factory=set)
    step: int = 0
    final: bool = False

    def add(self, trial: int, architecture: Architecture, origin: int) -> None:
        self.architecture[trial], self.origin[trial] = architecture, origin

    def leave(self, trial: int) -> None:
        self.awaited.discard(trial)
        self.architecture.pop(trial, None)
        self.arrived.pop(trial, None)

    def arrive(self, trial: int, step: int, losses: Sequence[float]) -> None:
        self.step, self.arrived[trial] = step, tuple(losses)

    def complete(self) -> bool:
        """Say whether all have come to the pause that will."""
        return self.final and not self.awaited and bool(self.arrived) and len(self.arrived) == len(self.architecture)

    def ranked(self) -> list[Member]:
        """Return the members at this pause, the best first; of equals the one that began first."""
        keys = dict(zip(self.arrived, places(list(self.arrived.values())), strict=True))
        return [
            Member(trial, self.architecture[trial], self.arrived[trial], self.last.get(self.origin[trial]))
            for trial in sorted(self.arrived, key=lambda trial: (keys[trial], trial))
        ]

    def turn(self, replaced: set[int]) -> None:
        """Begin the next generation, without the trials that are replaced."""
        self.last, self.arrived, self.awaited = self.arrived, {}, replaced
        self.architecture = {trial: each for trial, each in self.architecture.items() if trial not in replaced}
        self.origin = {trial: trial for trial in self.architecture}


class Generations:
    """The schedule: populations that are judged every `interval` epochs, whose forks an explorer decides.

    The worst floor(quantile * n) of n living members are replaced, one of them at least when there are two, by forks of
    the floor(quantile * n) best whose objectives are all finite. Without such nobody is replaced.
    """

    retains = True

    def __init__(self, epochs: int, seed: int, interval: int, quantile: float, explorer: Explorer) -> None:
        self.pauses = frozenset(range(interval, epochs, interval))
        if not self.pauses:
            raise SettingsError(
                f"--schedule-option interval is {interval}, which leaves no pause within {epochs} epochs: "
                + (f"choose one from 1 to {epochs - 1}" if epochs > 1 else "choose --epochs 2 or more")
            )
        self._seed = seed
        self._quantile = quantile
        self._explorer = explorer
        self._newest = Population(final=True)
        self._home: dict[int, Population] = {}
        self._released: list[tuple[int, Decided]] = []

    def began(
        self, trial: int, architecture: Architecture, fork: Fork | None = None, replaced: int | None = None
    ) -> None:
        if fork is None:
            if self._newest.final:
                self._newest = Population()
            population, origin = self._newest, trial
        else:
            assert replaced is not None
            population, origin = self._home[replaced], fork.source
            population.awaited.discard(replaced)
        population.add(trial, architecture, origin)
        self._home[trial] = population

    def judge(self, trial: int, step: int, losses: Sequence[float]) -> Decided:
        population = self._home[trial]
        population.arrive(trial, step, losses)
        self._settle(population)
        return Verdict.PAUSE

    def ended(self, trial: int) -> None:
        """Let a trial leave; one that was to be replaced is then replaced by none."""
        population = self._home[trial]
        population.leave(trial)
        self._settle(population)

    def closing(self) -> None:
        self._newest.final = True
        self._settle(self._newest)

    def released(self) -> list[tuple[int, Decided]]:
        released, self._released = self._released, []
        return released

    def _settle(self, population: Population) -> None:
        """Judge a generation that is complete."""
        if not population.complete():
            return
        members = population.ranked()
        generation = Generation(population.step, tuple(members), self._exploits(population.step, members))
        explored = self._explorer.explore(generation)
        forks = {
            exploit.loser.trial: Fork(exploit.source.trial, population.step, architecture)
            for exploit, architecture in zip(generation.exploits, explored, strict=True)
        }
        population.turn(set(forks))
        self._released += [(trial, forks.get(trial, Verdict.CONTINUE)) for trial in sorted(m.trial for m in members)]

    def _exploits(self, step: int, members: Sequence[Member]) -> tuple[Exploit, ...]:
        count = max(1, int(self._quantile * len(members) + ROUNDING)) if len(members) > 1 else 0
        sources = [member for member in members[:count] if finite(member.losses)]
        if not sources:
            return ()
        exploits = []
        for loser in members[-count:]:
            rng = Random(f"{self._seed}/{step}/{loser.trial}")
            exploits.append(Exploit(loser, rng.choice(sources), rng))
        return tuple(exploits)
