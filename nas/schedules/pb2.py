"""Population based bandits, PB2 (Parker-Holder et al., Provably Efficient Online Hyperparameter Optimization with

Population-Based Bandits, 2020): population based training in which a Gaussian process decides how to go on.

Taken from the paper: what is learned is how much the objective improves over an interval, as a function of the
hyperparameters and of time, with a kernel that forgets (see `drift`); its parameters are those of largest marginal
likelihood. The fork that is decided as the b-th of its generation gets the place x of largest

    mean(x) + sqrt(beta) * spread_b(x)

where the spread counts as measured, besides the past, all who go on and the forks decided before it; so the forks of a
generation differ. beta = 0.2 + max(0, ln(0.4 n)) for n measurements, as in the authors' code in Ray Tune.

Different here: improvements are standardised within each generation, since what all members gain alike says nothing
about hyperparameters; before the first interval all count as equal. With several objectives an improvement is that of
the mean rank in the generation. Choices are explored as `pbt` does; the process knows them, and what is not active, as
further coordinates. The largest value is sought among random places, so nothing depends on an optimiser's last digits.
Left out: the mixed kernels for choices (PB2-Mix, 2021), and the level of the objective as a further coordinate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

import numpy as np

from nas.schedules import Schedule
from nas.schedules.drift import Array, Points, likeliest, upper_bound
from nas.schedules.explore import Explorable, explore, explored_decisions, midway
from nas.schedules.generations import Generation, Generations, Member
from nas.schedules.improvement import improvements
from nas.schedules.order import finite
from nas.schedules.pbt import require_changes
from nas.strategies.encoding import Encoding
from nas.strategies.units import value_at
from search_spaces.decisions import Architecture, Choice, Decision, Integer, Real, Struct, Trace, drawing, replaying
from search_spaces.registry import register
from search_spaces.space import Space

RESAMPLE = 0.25
CANDIDATES, LEADERS = 256, 4
SPREAD = 0.05
MOST = 200

Bound = Callable[[Sequence[Array]], Array]


@register(
    "schedule",
    "pb2",
    paper="Parker-Holder et al., Provably Efficient Online Hyperparameter Optimization with Population-Based "
    "Bandits, 2020",
    options=Struct(interval=Integer(1, 10_000), quantile=Real(0.01, 0.5)),
)
def pb2(epochs: int, space: Space, seed: int, interval: int = 1, quantile: float = 0.25) -> Schedule:
    """Replace the worst trials by copies of the best, whose further training decisions a Gaussian process chooses.

    Every `interval` epochs (by default each) the worst `quantile` (a quarter) of a population take the weights of the
    best quarter; the numbers that may change in mid-training go where the next interval promises most, the choices are
    explored as by pbt.
    """
    explorable = midway(space)
    require_changes("pb2", space, explorable)
    return Generations(epochs, seed, interval, quantile, Bandit(space, explorable, interval))


@dataclass
class Bandit:
    """Learns from generations what improves an objective in an interval, and explores accordingly."""

    space: Space
    explorable: Explorable
    interval: int
    _rows: list[Array] = field(default_factory=list)
    _times: list[float] = field(default_factory=list)
    _targets: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._decisions = explored_decisions(self.space, self.explorable)
        self._encoding = Encoding(Struct(**self._decisions))

    def explore(self, generation: Generation) -> list[Architecture]:
        time = generation.step / self.interval
        self._learn(generation.members, time)
        if not generation.exploits:
            return []
        known = self._points(self._rows[-MOST:], self._times[-MOST:])
        targets = np.array(self._targets[-MOST:])
        kernel = likeliest(known, targets)
        losers = {exploit.loser.trial for exploit in generation.exploits}
        planned = [self._row(member.architecture) for member in generation.members if member.trial not in losers]
        chosen = []

        def bound(rows: Sequence[Array]) -> Array:
            others, wanted = self._points(planned, time + 1), self._points(rows, time + 1)
            return upper_bound(kernel, known, targets, others, wanted)

        for exploit in generation.exploits:
            chosen.append(self._promising(exploit.source.architecture, bound, exploit.rng))
            planned.append(self._row(chosen[-1]))
        return chosen

    def _learn(self, members: Sequence[Member], time: float) -> None:
        """Note how much each member improved over the interval that ends here."""
        sound = [each for each in members if finite(each.losses) and (each.before is None or finite(each.before))]
        self._rows += [self._row(member.architecture) for member in sound]
        self._times += [time] * len(sound)
        self._targets += improvements(sound)

    def _promising(self, source: Architecture, bound: Bound, rng: Random) -> Architecture:
        """Return the source with its choices explored, and its numbers where the bound is largest."""
        explored = explore(self.space, source, rng, RESAMPLE, self._is_choice)
        trace = self.space.trace(explored)
        numbers = {path: each for path, each in self._decisions.items() if path in trace and not _chooses(each)}
        if not numbers:
            return explored

        def placed(shares: Sequence[float]) -> Trace:
            pairs = zip(numbers.items(), shares, strict=True)
            return trace | {path: value_at(decision, share) for (path, decision), share in pairs}

        def ranked(candidates: list[list[float]]) -> list[list[float]]:
            bounds = bound([self._encoded(placed(shares)) for shares in candidates])
            return [candidates[i] for i in np.argsort(-bounds, kind="stable")]

        far = [[rng.random() for _ in numbers] for _ in range(CANDIDATES)]
        best = ranked(far)[:LEADERS]
        near = [[_near(share, rng) for share in best[i % LEADERS]] for i in range(CANDIDATES)]
        return self.space.resolve(replaying(placed(ranked(best + near)[0]), drawing(rng)))[0]

    def _is_choice(self, path: str, decision: Decision, source: Architecture | None = None) -> bool:
        return _chooses(decision) and self.explorable(path, decision, source)

    def _row(self, architecture: Architecture) -> Array:
        return self._encoded(self.space.trace(architecture))

    def _encoded(self, trace: Trace) -> Array:
        return self._encoding.row({path: value for path, value in trace.items() if path in self._decisions})

    def _points(self, rows: Sequence[Array], times: Sequence[float] | float) -> Points:
        places = np.array(rows, dtype=float).reshape(-1, self._encoding.width)
        return Points(places, np.broadcast_to(np.asarray(times, dtype=float), len(places)))


def _near(share: float, rng: Random) -> float:
    return min(max(share + rng.gauss(0, SPREAD), 0.0), 1.0)


def _chooses(decision: Decision) -> bool:
    return isinstance(decision, Choice)
