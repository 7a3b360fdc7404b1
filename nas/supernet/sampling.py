"""Which subnetworks a step of a supernet's training looks at; `fixed` decisions, a part of a trace, hold in all."""

from __future__ import annotations

import difflib
from random import Random

from nas.supernet.bank import is_elastic
from nas.supernet.errors import SupernetError
from search_spaces.decisions import Architecture, Decision, Scalar, Trace, accept, drawing, every, replaying
from search_spaces.space import Space


def check_fixed(space: Space, fixed: Trace) -> None:
    """Raise SupernetError for a fixed path that the space lacks, DecisionError for a value that it does not allow."""
    known = every(space.tree)
    for path, value in fixed.items():
        if path not in known:
            near = difflib.get_close_matches(path, known, 3, 0.4)
            hint = f": did you mean {' or '.join(near)}?" if near else ""
            raise SupernetError(f"space {space.name!r} has no decision {path!r} that could be fixed{hint}")
        accept(path, known[path], value)


def single(space: Space, rng: Random, fixed: Trace) -> list[Architecture]:
    """Draw one architecture, every decision evenly (Single Path One-Shot)."""
    return [space.resolve(replaying(fixed, drawing(rng)))[0]]


def sandwich(space: Space, rng: Random, fixed: Trace, between: int) -> list[Architecture]:
    """Draw architectures that are parts of one: the largest, `between` at random, and the smallest.

    What is not elastic is drawn once and the same for all (SortedNet; the sandwich rule of Universally Slimmable
    Networks). The largest comes first.
    """

    def largest(path: str, domain: Decision) -> Scalar:
        return domain.high if is_elastic(domain, path) else domain.draw(rng)

    def smaller(path: str, domain: Decision) -> Scalar:
        return domain.draw(rng) if is_elastic(domain, path) else trace[path]

    def smallest(path: str, domain: Decision) -> Scalar:
        return domain.low if is_elastic(domain, path) else trace[path]

    whole, trace = space.resolve(replaying(fixed, largest))
    inside = [space.resolve(replaying(fixed, smaller))[0] for _ in range(between)]
    return [whole, *inside, space.resolve(replaying(fixed, smallest))[0]]
