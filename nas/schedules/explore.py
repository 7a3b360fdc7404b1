"""Exploring: other decisions for a training that goes on from a checkpoint (Jaderberg et al., 2017).

A number is multiplied by 0.8 or 1.2, a choice moves to a neighbour in the order in which its options are declared; now
and then a decision is drawn anew instead. What cannot change in mid-training is replayed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from random import Random

from search_spaces.decisions import Architecture, Choice, Decision, Integer, Real, Scalar, Trace, every
from search_spaces.space import Space

SHARE = 0.2
STEP = 0.01
NETWORK = "network."

Explorable = Callable[[str, Decision, Architecture | None], bool]
Move = Callable[[Decision, Scalar, Random], Scalar]


def midway(space: Space, architecture: bool = False) -> Explorable:
    """Say which decisions may change in mid-training: those marked so.

    With `architecture` also those of the network whose change it can inherit its weights through; what is said then
    is asked of the architecture that is to change, of any where none is named.
    """

    def explorable(path: str, decision: Decision, source: Architecture | None = None) -> bool:
        if not path.startswith(NETWORK):
            return decision.changeable
        # By name, for it imports torch, which nothing else here needs.
        return architecture and bool(import_module("nas.training.inherit").inheritable(space, path, decision, source))

    return explorable


def explored_decisions(space: Space, explorable: Explorable) -> dict[str, Decision]:
    """Return the decisions of a space that may change in mid-training, by path."""
    return {path: decision for path, decision in every(space.tree).items() if explorable(path, decision, None)}


def perturbed(decision: Decision, value: Scalar, rng: Random) -> Scalar:
    """Return another value near the given one, in the domain.

    A number moves by a fifth of itself, up or down: an Integer by a step at least, a Real by a hundredth of its range
    unless its domain is logarithmic. At an end of the domain it moves the other way.
    """
    sign = rng.choice((-1, 1))
    if isinstance(decision, Choice):
        index = decision.options.index(value)
        there = index + sign if 0 <= index + sign < len(decision.options) else index - sign
        return decision.options[there]
    assert isinstance(value, int | float)
    moved = _moved(decision, value, sign)
    return moved if moved != value else _moved(decision, value, -sign)


def explore(
    space: Space,
    architecture: Architecture,
    rng: Random,
    resample: float,
    explorable: Explorable,
    move: Move = perturbed,
) -> Architecture:
    """Return an architecture with other values for the decisions that may change in mid-training.

    All of the training change, and one of the network where there is such, since more would leave little of what the
    weights do. A decision is drawn anew with probability `resample`, else it is what `move` makes of it. What becomes
    active by a change is drawn, and everything else is as it was.
    """
    trace = space.trace(architecture)
    network = _network_paths(space, trace, explorable, architecture)
    still = set(network) - {rng.choice(network)} if network else set()

    def decide(path: str, decision: Decision) -> Scalar:
        if path not in trace:
            return decision.draw(rng)
        if path in still or not explorable(path, decision, architecture):
            return trace[path]
        return decision.draw(rng) if rng.random() < resample else move(decision, trace[path], rng)

    return space.resolve(decide)[0]


def _network_paths(space: Space, trace: Trace, explorable: Explorable, source: Architecture) -> list[str]:
    """Return the decisions of the network that are active and may change, in the order of the walk."""
    found = []

    def decide(path: str, decision: Decision) -> Scalar:
        if path.startswith(NETWORK) and explorable(path, decision, source):
            found.append(path)
        return trace[path]

    space.resolve(decide)
    return found


def _moved(decision: Integer | Real, value: float, sign: int) -> float:
    if isinstance(decision, Integer):
        steps = max(1, round(SHARE * abs(value) / decision.step))
        return min(max(int(value) + sign * steps * decision.step, decision.low), decision.high)
    least = 0.0 if decision.log else STEP * (decision.high - decision.low)
    return min(max(value + sign * max(SHARE * abs(value), least), decision.low), decision.high)
