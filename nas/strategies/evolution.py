"""Regularized evolution: tournaments among the living, and the oldest dies."""

from __future__ import annotations

from collections import deque
from random import Random

from nas import pareto
from nas.strategies import Strategy
from nas.strategies.breeding import Breeding, Member
from nas.strategies.variation import Rate
from search_spaces.decisions import Choice, Integer, Real, Struct
from search_spaces.registry import register
from search_spaces.space import Space


class Aging:
    """The latest `size` members; a parent is the best of `sample` drawn at random.

    With several objectives, the one of the least non-dominated rank in the population, then the least crowded.
    """

    def __init__(self, size: int, sample: int) -> None:
        self._sample = sample
        self._members: deque[Member] = deque(maxlen=size)
        self._order: list[tuple[float, ...]] = []

    def __len__(self) -> int:
        return len(self._members)

    def pick(self, rng: Random) -> Member:
        if not self._order:
            losses = [member.losses for member in self._members]
            self._order = losses if len(losses[0]) == 1 else list(pareto.fitness(losses))
        drawn = rng.sample(range(len(self._members)), min(self._sample, len(self._members)))
        return self._members[min(drawn, key=self._order.__getitem__)]

    def add(self, member: Member) -> None:
        self._members.append(member)
        self._order = []


@register(
    "strategy",
    "regularized_evolution",
    paper="Real et al., Regularized Evolution for Image Classifier Architecture Search, 2019",
    options=Struct(
        population=Integer(2, 10_000),
        sample=Integer(1, 1000),
        start=Integer(1, 10_000),
        mutations=Real(1, 16),
        adaptive=Choice(True, False),
        crossover=Real(0, 1),
    ),
)
def regularized_evolution(
    space: Space,
    objectives: int,
    seed: int,
    *,
    population: int = 50,
    sample: int = 10,
    start: int = 20,
    mutations: float = 1.0,
    adaptive: bool = True,
    crossover: float = 0.0,
) -> Strategy:
    """Aging evolution: the best of `sample` members is mutated, and the oldest of `population` dies for the child.

    The first `start` are drawn at random. A mutation redraws `mutations` decisions on average, at first: where
    `adaptive`, more as long as over one child in five beats its parent, else fewer. With the probability `crossover`
    a child has two parents. Infeasible children are not let in.
    """
    rate = Rate(mutations, adaptive)
    return Breeding(space, seed, Aging(population, sample), rate=rate, crossover=crossover, start=start)
