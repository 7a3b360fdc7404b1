"""Pareto evolution: of the best and one child, the worst by non-dominated rank and crowding dies."""

from __future__ import annotations

from random import Random

from nas import pareto
from nas.strategies import Strategy
from nas.strategies.breeding import Breeding, Member
from nas.strategies.variation import Rate
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.registry import register
from search_spaces.space import Space


class Elite:
    """The best `size` members by non-dominated rank, then the less crowded.

    A parent is the best of `tournament` drawn at random, in the same order.
    """

    def __init__(self, size: int, tournament: int) -> None:
        self._size = size
        self._tournament = tournament
        self._members: list[Member] = []
        self._order: list[tuple[int, float]] = []

    def __len__(self) -> int:
        return len(self._members)

    def pick(self, rng: Random) -> Member:
        drawn = rng.sample(range(len(self._members)), min(self._tournament, len(self._members)))
        return self._members[min(drawn, key=self._order.__getitem__)]

    def add(self, member: Member) -> None:
        self._members.append(member)
        self._order = pareto.fitness([each.losses for each in self._members])
        if len(self._members) > self._size:
            self._remove(self._order.index(max(self._order)))

    def _remove(self, worst: int) -> None:
        """Remove a member of the last front, which leaves all ranks as they are and its own front less crowded."""
        rank, _ = self._order.pop(worst)
        del self._members[worst]
        rest = [i for i, (other, _) in enumerate(self._order) if other == rank]
        alone = pareto.fitness([self._members[i].losses for i in rest])
        for i, (_, crowded) in zip(rest, alone, strict=True):
            self._order[i] = (rank, crowded)


@register(
    "strategy",
    "pareto_evolution",
    paper="Deb et al., A Fast and Elitist Multiobjective Genetic Algorithm, 2002; Durillo et al., 2008 (steady state)",
    options=Struct(
        population=Integer(2, 10_000),
        tournament=Integer(1, 1000),
        start=Integer(1, 10_000),
        mutations=Real(1, 16),
        adaptive=Choice(True, False),
        crossover=Real(0, 1),
    ),
)
def pareto_evolution(
    space: Space,
    objectives: int,
    seed: int,
    *,
    population: int = 50,
    tournament: int = 10,
    start: int = 20,
    mutations: float = 1.0,
    adaptive: bool = True,
    crossover: float = 0.2,
) -> Strategy:
    """Steady-state evolution of a front: one child at a time enters, and the worst of `population` and it dies.

    The first `start` are drawn at random. Better is a lower non-dominated rank, then less crowding, also in the
    tournaments for parents. A mutation redraws `mutations` decisions on average, at first: where `adaptive`, more as
    long as over one child in five beats its parent, else fewer. With the probability `crossover` a child has two
    parents. Infeasible children are not let in.
    """
    rate = Rate(mutations, adaptive)
    return Breeding(space, seed, Elite(population, tournament), rate=rate, crossover=crossover, start=start)
