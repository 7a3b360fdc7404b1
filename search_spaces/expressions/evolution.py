"""A small evolutionary search for expressions; unstable ones are rejected before they are judged."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.stability import instability
from search_spaces.expressions.tree import Tree, X, evaluate, replaced, size, subtrees
from search_spaces.expressions.variation import crossover, grow, mutate

DRAWS_PER_TRIAL = 20


@dataclass(frozen=True)
class Evolution:
    """How to search: aging evolution, in which each birth beyond `population` removes the oldest expression.

    A parent is the best of `tournament` drawn at random, by its loss plus `price` for each node. At most `trials`
    expressions of at most `levels` levels are judged. A loss of `enough` ends the search, and `patience` trials
    without a better expression begin it anew.
    """

    population: int = 300
    tournament: int = 3
    trials: int = 10_000
    levels: int = 5
    crossover: float = 0.3
    price: float = 1e-3
    patience: int = 2500
    enough: float = 1e-12

    def __post_init__(self) -> None:
        for name in ("population", "tournament", "trials", "levels", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, but got {getattr(self, name)}")
        if self.tournament > self.population:
            raise ValueError(f"a tournament of {self.tournament} needs a population of as many, not {self.population}")


@dataclass(frozen=True)
class Candidate:
    """A judged expression, and what it is ranked by."""

    tree: Tree
    loss: float
    rank: float


@dataclass(frozen=True)
class Found:
    """The best expression of a search, its loss, and how many were judged and how many rejected as unstable."""

    tree: Tree
    loss: float
    judged: int
    rejected: int


def evolve(loss: Callable[[Tree], float], rng: Random, how: Evolution = Evolution()) -> Found:
    """Search the stable expression of the least loss, which is not a number where it is infinitely bad.

    The first judged is x. Each is simplified, and none is judged twice. At the end nodes that the best one does not
    need are taken out of it.
    """
    best = _judged(X(), loss, how)
    alive = deque([best], how.population)
    seen: set[Tree] = {X()}
    judged, rejected, stale = 1, 0, 0
    for _ in range(DRAWS_PER_TRIAL * how.trials):
        if judged == how.trials or best.loss <= how.enough:
            break
        tree = simplify(_draw(alive, rng, how))
        if tree in seen:
            continue
        seen.add(tree)
        if instability(tree) is not None:
            rejected += 1
            continue
        candidate = _judged(tree, loss, how)
        alive.append(candidate)
        judged, stale = judged + 1, stale + 1
        if candidate.loss <= how.enough or candidate.rank < best.rank:
            best, stale = candidate, 0
        if stale == how.patience:
            alive.clear()
            stale = 0
    best = _pruned(best, loss, how)
    return Found(best.tree, best.loss, judged, rejected)


def fit(x: Tensor, y: Tensor, rng: Random, how: Evolution = Evolution()) -> Found:
    """Search the stable expression nearest to samples y at x: the mean squared error over the variance of y.

    >>> from search_spaces.expressions.text import show
    >>> x = torch.linspace(-5, 5, 101)
    >>> show(fit(x, torch.nn.functional.silu(x), Random(0)).tree)
    'x*sigmoid(x)'
    """
    if x.shape != y.shape or x.numel() < 2:
        raise ValueError(f"as many samples of y as of x, two at least, are asked, but got {y.numel()} and {x.numel()}")
    scale = y.var().clamp(min=torch.finfo(y.dtype).tiny)
    return evolve(lambda tree: ((evaluate(tree, x) - y).square().mean() / scale).item(), rng, how)


def _draw(alive: Sequence[Candidate], rng: Random, how: Evolution) -> Tree:
    if len(alive) < how.population:
        return grow(rng, how.levels)
    one, other = (min(rng.sample(alive, how.tournament), key=lambda each: each.rank).tree for _ in range(2))
    if rng.random() < how.crossover:
        return crossover(one, other, rng, how.levels)[0]
    return mutate(one, rng, how.levels)


def _pruned(best: Candidate, loss: Callable[[Tree], float], how: Evolution) -> Candidate:
    """Put subtrees in the place of what they are part of as long as the loss does not rise, or is still enough."""
    for place, node in enumerate(subtrees(best.tree)):
        for below in subtrees(node)[1:]:
            tree = simplify(replaced(best.tree, place, below))
            if instability(tree) is None:
                candidate = _judged(tree, loss, how)
                if candidate.loss <= max(best.loss, how.enough):
                    return _pruned(candidate, loss, how)
    return best


def _judged(tree: Tree, loss: Callable[[Tree], float], how: Evolution) -> Candidate:
    value = loss(tree)
    value = math.inf if math.isnan(value) else value
    return Candidate(tree, value, value + how.price * size(tree))
