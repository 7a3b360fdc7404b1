"""Surrogate search: what a learned surrogate finds most promising among variations of the best trials and fresh draws.

In the manner of BANANAS (White et al., 2021) and SMAC (Hutter et al., 2011): candidates are drawn at random and by
changing a few decisions of the best trials, then by changing the most promising candidates once more; the one of
largest expected (hypervolume) improvement is proposed. Only decisions are looked at: no network is built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from nas.strategies import Proposal
from nas.strategies.learner import MODEL, Learner
from predictors.surrogate import MODELS
from search_spaces.decisions import Architecture, Choice, Decision, Integer, Real, Scalar, Struct, Trace, redraw
from search_spaces.registry import register
from search_spaces.space import Space

BLOCK = 4096
PARENTS = 10
TRIES = 50
MOST, MORE = 4, 0.4
FAR, NEAR = 0.3, 0.1


@dataclass(frozen=True)
class Candidate:
    """What may be proposed, and the turn of the trial it descends from."""

    architecture: Architecture
    trace: Trace
    parents: tuple[int, ...] = ()


@register(
    "strategy",
    "surrogate",
    paper="White et al., BANANAS, 2021; Hutter et al., SMAC, 2011",
    options=Struct(candidates=Integer(10, 2000), exploration=Real(0, 1), model=Choice(*MODELS)),
)
class SurrogateSearch:
    """Local search for the largest expected improvement of a surrogate, refitted as trials finish.

    The first ten judged trials are random draws, and later a share `exploration`. Trials that fail teach it nothing;
    those that break a constraint count as the worst.
    """

    def __init__(
        self,
        space: Space,
        objectives: int,
        seed: int,
        candidates: int = 200,
        exploration: float = 0.05,
        model: str = MODEL,
    ) -> None:
        self._space = space
        self._seed = seed
        self._candidates = candidates
        self._exploration = exploration
        self._learner = Learner(space, objectives, seed, model)
        self._vain = -1

    def ask(self, turn: int) -> Proposal:
        rng = Random(f"{self._seed}/{turn}")
        # A failed trial is not remembered and would be proposed again: after what came to nothing follows a draw.
        again = turn % BLOCK and turn == self._vain + 1
        if rng.random() < self._exploration or again or not self._learner.ready:
            chosen = self._drawn(rng)
        else:
            chosen = self._promising(rng) or self._drawn(rng)
        self._learner.note(turn, chosen.trace)
        return Proposal(turn, chosen.architecture, parents=chosen.parents)

    def remember(self, proposal: Proposal) -> None:
        self._learner.note(proposal.turn, self._space.trace(proposal.architecture))

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        if losses is None and feasible:
            self._vain = turn
        self._learner.tell(turn, losses, feasible=feasible)

    def _drawn(self, rng: Random) -> Candidate:
        """Draw at random, again and again while it is known; in the end what is known is returned."""
        for _ in range(TRIES):
            candidate = Candidate(*self._space.resolve(lambda path, domain: domain.draw(rng)))
            if self._learner.fresh(candidate.trace):
                break
        return candidate

    def _promising(self, rng: Random) -> Candidate | None:
        """Return the most promising candidate; None where all that were found are known."""
        share = -(-self._candidates // 3)
        leaders = [Candidate(None, each.trace, (each.turn,)) for each in self._learner.best(PARENTS)]
        drawn = [self._drawn(rng) for _ in range(share)]
        found = self._fresh(drawn + self._varied(leaders, share, rng))
        if not found:
            return None
        best = [found[i] for i in self._ranked(found)[:PARENTS]]
        found = self._fresh(best + self._varied(best, share, rng))
        return found[self._ranked(found)[0]]

    def _varied(self, parents: list[Candidate], count: int, rng: Random) -> list[Candidate]:
        chosen = [parents[i % len(parents)] for i in range(count)]
        return [Candidate(*vary(self._space, each.trace, rng), each.parents) for each in chosen]

    def _fresh(self, candidates: list[Candidate]) -> list[Candidate]:
        """Leave out what is known, and what is there twice."""
        different = {tuple(each.trace.items()): each for each in reversed(candidates)}
        return [each for each in reversed(different.values()) if self._learner.fresh(each.trace)]

    def _ranked(self, candidates: list[Candidate]) -> list[int]:
        order: list[int] = self._learner.ranked([each.trace for each in candidates]).tolist()
        return order


def vary(space: Space, trace: Trace, rng: Random) -> tuple[Architecture, Trace]:
    """Change one decision of a trace, or, ever less likely, up to four; numbers mostly by little."""
    count = 1
    while count < MOST and rng.random() < MORE:
        count += 1
    changed = set(rng.sample(sorted(trace), min(count, len(trace))))

    def decide(path: str, domain: Decision) -> Scalar:
        if path in changed:
            return _changed(domain, trace[path], rng)
        return trace[path] if path in trace else domain.draw(rng)

    return space.resolve(decide)


def _changed(domain: Decision, value: Any, rng: Random) -> Scalar:
    """Return another value: of a choice any, of a number one at about a tenth of the domain or, at times, any."""
    if isinstance(domain, Choice) or rng.random() < FAR:
        return redraw(domain, value, rng)
    if domain.log:
        moved = value * math.exp(rng.gauss(0, NEAR) * math.log(domain.high / domain.low))
    else:
        moved = value + rng.gauss(0, NEAR) * (domain.high - domain.low)
    if isinstance(domain, Real):
        return float(min(max(moved, domain.low), domain.high))
    steps = round((moved - value) / domain.step) or rng.choice((-1, 1))
    stepped = int(min(max(value + steps * domain.step, domain.low), domain.high))
    return stepped if stepped != value else redraw(domain, value, rng)
