"""Evolution without generations: each ask breeds from the population as it is, so no worker waits for another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from nas.strategies import Proposal
from nas.strategies.variation import Rate, nudge
from search_spaces.decisions import Architecture, Scalar, Trace, drawing
from search_spaces.space import Space

BRED, DRAWN = 10, 10
Key = tuple[tuple[str, Scalar], ...]


@dataclass(frozen=True)
class Member:
    """A judged architecture: the turn it comes from, its decisions, and its losses."""

    turn: int
    trace: Trace
    losses: tuple[float, ...]


class Population(Protocol):
    """The members that are bred from."""

    def __len__(self) -> int:
        """Count the members that there are."""

    def pick(self, rng: Random) -> Member:
        """Choose a parent."""

    def add(self, member: Member) -> None:
        """Let a judged architecture in, and decide who dies for it."""


@dataclass(frozen=True)
class Child:
    """A proposal under way: its decisions, and its parents' turns, first the one that was mutated."""

    trace: Trace
    parents: tuple[int, ...] = ()

    @property
    def key(self) -> Key:
        return _key(self.trace)


class Breeding:
    """A strategy around a population: its members are picked as parents, crossed with probability `crossover`, mutated.

    Proposals are drawn at random until `start` trials were judged or found infeasible. What is infeasible or failed is
    not let in; if that is everything, the search stays random. A child that was judged or is under way is bred anew,
    and after some times drawn at random.
    """

    def __init__(
        self, space: Space, seed: int, population: Population, *, rate: Rate, crossover: float, start: int
    ) -> None:
        self._space = space
        self._seed = seed
        self._population = population
        self._rate = rate
        self._crossover = crossover
        self._start = start
        self._open: dict[int, Child] = {}
        self._known: set[Key] = set()
        self._losses: dict[int, tuple[float, ...]] = {}

    def ask(self, turn: int) -> Proposal:
        rng = Random(f"{self._seed}/{turn}")
        under_way = {child.key for child in self._open.values()}
        for attempt in range(BRED + DRAWN):
            parents = self._parents(rng) if attempt < BRED else ()
            architecture, trace = self._child(parents, rng)
            key = _key(trace)
            if key not in self._known and key not in under_way:
                break
        turns = tuple(parent.turn for parent in parents)
        self._open[turn] = Child(trace, turns)
        return Proposal(turn, architecture, {"parents": list(turns)} if turns else {}, turns)

    def remember(self, proposal: Proposal) -> None:
        trace = self._space.trace(proposal.architecture)
        parents = tuple(proposal.note.get("parents", ()))
        self._open[proposal.turn] = Child(trace, parents)

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        child = self._open.pop(turn, None)
        if child is None or child.key in self._known or (losses is None and feasible):
            return
        self._known.add(child.key)
        if child.parents:
            self._rate.learn(losses is not None and beats(losses, self._losses[child.parents[0]]))
        if losses is not None:
            self._losses[turn] = tuple(losses)
            self._population.add(Member(turn, child.trace, tuple(losses)))

    def _parents(self, rng: Random) -> tuple[Member, ...]:
        if not len(self._population) or len(self._known) < self._start:
            return ()
        first = self._population.pick(rng)
        return (first, self._population.pick(rng)) if rng.random() < self._crossover else (first,)

    def _child(self, parents: Sequence[Member], rng: Random) -> tuple[Architecture, Trace]:
        if not parents:
            return self._space.resolve(drawing(rng))
        trace = parents[0].trace
        if len(parents) > 1:
            _, trace = self._space.crossover(trace, parents[1].trace, rng)
        return self._space.mutate(trace, rng, self._rate.draw(len(trace), rng), nudge)


def _key(trace: Trace) -> Key:
    """Return what tells an architecture from others: its decisions in the order of the walk, quick to hash."""
    return tuple(trace.items())


def beats(losses: Sequence[float], others: Sequence[float]) -> bool:
    """Say whether losses are nowhere worse than others, and somewhere better."""
    return tuple(losses) != tuple(others) and all(a <= b for a, b in zip(losses, others, strict=True))
