"""The search for good subnetworks of a trained supernet, for several hardware targets at once.

An evolution in the manner of NSGA-II: parents are mutated and crossed on their traces, and survivors are chosen by
non-dominated rank and crowding of (validation error with inherited weights, cost), where the targets take turns, each
by its own cost. Learned or untrained predictors may rank many children first, so that only the most promising are
evaluated (A Hardware-Aware System for Accelerating Deep Neural Network Optimization).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random

from nas import pareto
from nas.job import Infeasible
from nas.supernet.bank import Supernet, network_part
from nas.supernet.errors import SupernetError
from nas.supernet.recalibration import SAMPLES, judge
from nas.supernet.sampling import check_fixed
from nas.training.measures import measure
from predictors import Column
from predictors.ensemble import by_rank
from search_spaces.decisions import Architecture, Trace, drawing, identity, replaying
from search_spaces.expressions.stability import Unstable
from search_spaces.space import Space

Cost = Callable[[Architecture], float]
Predictor = Callable[[Sequence[Architecture]], Column]
REPEATS = 50  # draws in a row that bring nothing new before the space counts as exhausted


@dataclass(frozen=True)
class Target:
    """Hardware, or any measure of cost that is to be small: a name, and what an architecture costs there."""

    name: str
    cost: Cost


@dataclass(frozen=True)
class SubnetSettings:
    """How subnetworks are searched.

    A generation has `children`; with predictors they are the best of `surplus` times as many. `crossed` is the share
    of children with two parents; `mutations` decisions are redrawn in each. `samples` recalibrate the statistics.
    """

    evaluations: int = 200
    population: int = 32
    children: int = 16
    surplus: int = 8
    crossed: float = 0.5
    mutations: int = 2
    samples: int = SAMPLES
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("evaluations", "population", "children", "surplus", "mutations", "samples"):
            if getattr(self, name) < 1:
                raise SupernetError(f"{name} is {getattr(self, name)}, but a whole number from 1 up is allowed")
        if not 0 <= self.crossed <= 1:
            raise SupernetError(f"crossed is {self.crossed}, but a share from 0 to 1 is allowed")


@dataclass(frozen=True)
class Subnetwork:
    """An evaluated subnetwork: its validation loss and accuracy with inherited weights, and its cost by target."""

    architecture: Architecture
    trace: Trace
    loss: float
    accuracy: float
    costs: dict[str, float]

    @property
    def error(self) -> float:
        return 1 - self.accuracy


@dataclass
class Found:
    """What a search found: all that it evaluated, in order, and how many draws it had to leave out and why first."""

    targets: tuple[str, ...]
    evaluated: list[Subnetwork] = field(default_factory=list)
    skipped: int = 0
    reason: str | None = None

    def front(self, target: str) -> list[Subnetwork]:
        """Return the subnetworks that no other beats in error and in the cost for a target, the cheapest first."""
        if target not in self.targets:
            raise SupernetError(f"no target {target!r} was searched for, only {', '.join(self.targets)}")
        kept = pareto.front([(each.error, each.costs[target]) for each in self.evaluated])
        return sorted((self.evaluated[i] for i in kept), key=lambda each: each.costs[target])

    def joint(self) -> list[Subnetwork]:
        """Return the subnetworks that no other beats in error and in all costs, in the order of evaluation."""
        points = [(each.error, *(each.costs[name] for name in self.targets)) for each in self.evaluated]
        return [self.evaluated[i] for i in pareto.front(points)]

    def promising(self) -> list[Subnetwork]:
        """Return all that was evaluated, the fittest first, where the targets take turns."""
        return [self.evaluated[i] for i in _order(self.evaluated, self.targets)]


def measured(supernet: Supernet, name: str) -> Target:
    """Return the target of a cheap objective on the supernet's device: params, flops, latency or memory."""
    return Target(name, lambda drawn: measure([name], supernet.extract(drawn), supernet.task, supernet.device)[name])


def subnet_search(
    supernet: Supernet,
    targets: Sequence[Target],
    settings: SubnetSettings | None = None,
    predictors: Sequence[Predictor] = (),
    within: Space | None = None,
    fixed: Trace | None = None,
    tell: Callable[[Subnetwork], None] | None = None,
) -> Found:
    """Search a supernet for subnetworks of small validation error and small cost, on every target.

    Drawn from the space `within` (see `search_spaces.limits`) with `fixed` decisions as they are. A predictor gives
    architectures their scores, higher is better and None for none; of several the mean rank counts. `tell` gets each
    subnetwork when it is evaluated. Ends after `evaluations`, or earlier where nothing new is found. Raises Infeasible
    where no draw can be built.
    """
    names = tuple(target.name for target in targets)
    if not names or len(set(names)) < len(names):
        raise SupernetError(f"the targets are {list(names)}, but one or more of different names are asked")
    search = _Search(supernet, tuple(targets), settings or SubnetSettings(), within or supernet.space, fixed or {})
    check_fixed(search.space, search.fixed)
    rule = search.settings
    found, generation, barren = Found(names), 0, 0
    drawn = search.drawn(min(rule.population, rule.evaluations))
    population = search.survivors(search.evaluate(drawn, found, tell))
    if not found.evaluated:
        raise Infeasible(f"none of {found.skipped} drawn subnetworks can be built, the first because: {found.reason}")
    while len(found.evaluated) < rule.evaluations and barren < REPEATS:
        generation += 1
        wanted = min(rule.children, rule.evaluations - len(found.evaluated))
        rng = Random(f"{rule.seed}/{generation}")
        children = search.children(population, wanted * (rule.surplus if predictors else 1), rng)
        if not children:
            break
        if predictors:
            children = search.promising(children, predictors, wanted, found)
        new = search.evaluate(children, found, tell)
        barren = 0 if new else barren + 1
        population = search.survivors(population + new)
    return found


@dataclass
class _Search:
    supernet: Supernet
    targets: tuple[Target, ...]
    settings: SubnetSettings
    space: Space
    fixed: Trace
    seen: set[str] = field(default_factory=set)
    known: dict[str, dict[str, float]] = field(default_factory=dict)

    def drawn(self, count: int) -> list[Architecture]:
        rng = Random(f"{self.settings.seed}/0")
        return self.fresh(lambda: {}, count, rng)

    def children(self, parents: Sequence[Subnetwork], count: int, rng: Random) -> list[Architecture]:
        """Breed new architectures; the parents are in order of fitness, and the fitter of two is taken."""
        traces = [_without_training(parent.trace) for parent in parents]

        def pick() -> Trace:
            return traces[min(rng.randrange(len(traces)), rng.randrange(len(traces)))]

        def bred() -> Trace:
            trace = pick()
            if rng.random() < self.settings.crossed:
                trace = _without_training(self.space.crossover(trace, pick(), rng)[1])
            return self.space.mutate(trace, rng, self.settings.mutations)[1] if trace else trace

        return self.fresh(bred, count, rng)

    def fresh(self, bred: Callable[[], Trace], count: int, rng: Random) -> list[Architecture]:
        """Collect architectures that have not been met before, the fixed decisions in them."""
        found: list[Architecture] = []
        repeated = 0
        while len(found) < count and repeated < REPEATS * count:
            architecture = self.space.resolve(replaying(bred() | self.fixed, drawing(rng)))[0]
            known = identity(network_part(architecture))
            repeated += known in self.seen
            if known not in self.seen:
                self.seen.add(known)
                found.append(architecture)
        return found

    def evaluate(
        self, architectures: Iterable[Architecture], found: Found, tell: Callable[[Subnetwork], None] | None
    ) -> list[Subnetwork]:
        new = []
        for architecture in architectures:
            try:
                costs = self.costs(architecture)
                loss, accuracy = judge(self.supernet, architecture, self.settings.samples)
            except (Unstable, ValueError) as error:
                _skip(found, error)
                continue
            new.append(Subnetwork(architecture, self.space.trace(architecture), loss, accuracy, costs))
            found.evaluated.append(new[-1])
            if tell is not None:
                tell(new[-1])
        return new

    def promising(
        self, architectures: list[Architecture], predictors: Sequence[Predictor], count: int, found: Found
    ) -> list[Architecture]:
        """Return those that the predictors put first, each target by its own cost; the others may come again."""
        known: list[tuple[Architecture, dict[str, float]]] = []
        for architecture in architectures:
            try:
                known.append((architecture, self.costs(architecture)))
            except (Unstable, ValueError) as error:
                _skip(found, error)
        if not known:
            return []
        worth = by_rank([predictor([each for each, _ in known]) for predictor in predictors])
        order = in_turns(
            [[(-w, costs[t.name]) for w, (_, costs) in zip(worth, known, strict=True)] for t in self.targets]
        )
        for i in order[count:]:
            self.seen.discard(identity(network_part(known[i][0])))
        return [known[i][0] for i in order[:count]]

    def survivors(self, all_: Sequence[Subnetwork]) -> list[Subnetwork]:
        order = _order(all_, [target.name for target in self.targets])
        return [all_[i] for i in order[: self.settings.population]]

    def costs(self, architecture: Architecture) -> dict[str, float]:
        name = identity(network_part(architecture))
        if name not in self.known:
            self.known[name] = {target.name: float(target.cost(architecture)) for target in self.targets}
            for target, cost in self.known[name].items():
                if math.isnan(cost):
                    raise SupernetError(
                        f"target {target!r} gives a cost of nan: give a number, or inf for what it bars"
                    )
        return self.known[name]


def in_turns(points: Sequence[Sequence[Sequence[float]]]) -> list[int]:
    """Order candidates by fitness for several targets: each target in turn takes its fittest that is left.

    `points` holds for each target a list [candidates] of what is minimised.
    """
    fitness = [pareto.fitness(each) for each in points]
    queues = [sorted(range(len(each)), key=each.__getitem__) for each in fitness]
    turns = [i for same in zip(*queues, strict=True) for i in same]
    return list(dict.fromkeys(turns))


def _order(found: Sequence[Subnetwork], targets: Iterable[str]) -> list[int]:
    return in_turns([[(each.error, each.costs[name]) for each in found] for name in targets])


def _skip(found: Found, error: Exception) -> None:
    found.skipped += 1
    found.reason = found.reason or str(error)


def _without_training(trace: Trace) -> Trace:
    """Return a trace without the decisions that have no part in a subnetwork, so that none of them is redrawn."""
    return {path: value for path, value in trace.items() if not path.startswith("training.")}
