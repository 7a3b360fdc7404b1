"""A named search space: its tree of decisions, and how an architecture becomes a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from random import Random
from typing import TYPE_CHECKING, Any, Protocol

from search_spaces import decisions, registry
from search_spaces.decisions import Architecture, Decider, Decision, Scalar, Struct, Trace
from search_spaces.mixtures.answers import Mixture

if TYPE_CHECKING:
    from torch import nn

Redraw = Callable[[Decision, Scalar, Random], Scalar]


class Signature(Protocol):
    """What a network must fit: the shape of one input (channels, height, width) and the number of classes."""

    @property
    def input_shape(self) -> tuple[int, int, int]: ...

    @property
    def classes(self) -> int: ...


@dataclass(frozen=True)
class Shape:
    """A signature by itself: inputs [channels, height, width] and so many classes."""

    input_shape: tuple[int, int, int]
    classes: int


@dataclass(frozen=True)
class Change:
    """One decision in which two architectures differ; a side where it is not active holds None."""

    path: str
    before: Scalar
    after: Scalar


@dataclass(frozen=True)
class Notation:
    """How the architectures of a space are written in its field.

    `write` takes a valid architecture; `read` is its inverse and raises DecisionError, one line that names the text
    and the expected form.
    """

    write: Callable[[Architecture], str]
    read: Callable[[str], Architecture]


def find_space(name: str) -> Space:
    """Return a registered space; raises UnknownName with the nearest names."""
    space: Space = registry.find("space", name).make()
    return space


@dataclass(frozen=True)
class Space:
    """A tree of decisions with the function that builds a network from an architecture of it.

    `mixtures` are those to relax it with when no others are named: by path, with `[*]` for any index. `signature` is
    what its networks were published with, `degenerate` tells architectures whose output does not depend on the input.
    """

    name: str
    summary: str
    tree: Struct
    make: Callable[[Architecture, Signature], nn.Module]
    notation: Notation | None = None
    mixtures: Mapping[str, Mixture] = field(default_factory=dict)
    signature: Signature | None = None
    degenerate: Callable[[Architecture], bool] | None = None

    def resolve(self, decide: Decider) -> tuple[Architecture, Trace]:
        """Return the architecture and trace that a decider's answers give."""
        return decisions.resolve(self.tree, decide)

    def draw(self, rng: Random) -> Architecture:
        """Draw an architecture at random."""
        return self.resolve(decisions.drawing(rng))[0]

    def trace(self, architecture: Architecture) -> Trace:
        """Validate an architecture and return its trace; raises DecisionError naming the wrong path."""
        return decisions.trace_of(self.tree, architecture)

    def build(self, architecture: Architecture, signature: Signature) -> nn.Module:
        """Validate an architecture and build its network, with weights drawn from torch's global generator.

        Of a relaxed architecture comes a supernet, in which each relaxed path has one vector of strengths.
        """
        trace = self.trace(architecture)
        network = self.make(architecture, signature)
        relaxed = [path for path, value in trace.items() if isinstance(value, Mixture)]
        if relaxed:
            import_module("search_spaces.mixtures.strengths").tie(network, relaxed)
        return network

    def size(self) -> float:
        """Count the architectures: an exact int, or math.inf."""
        return decisions.size(self.tree)

    def describe(self) -> dict[str, Any]:
        """Describe the space as plain JSON."""
        return {"name": self.name, "summary": self.summary, "tree": decisions.describe(self.tree)}

    def matches(self, described: Any) -> bool:
        """Say whether a tree that was described before is this one, whatever may change in mid-training."""
        return bool(_unmarked(described) == _unmarked(decisions.describe(self.tree)))

    def mutate(
        self, trace: Trace, rng: Random, count: int = 1, redraw: Redraw = decisions.redraw
    ) -> tuple[Architecture, Trace]:
        """Redraw `count` decisions of a trace to other values and replay the rest.

        At least one active decision changes: the first redrawn one that the walk meets. What becomes active by it is
        drawn at random.
        """
        chosen = set(rng.sample(sorted(trace), min(count, len(trace))))

        def decide(path: str, domain: Decision) -> Scalar:
            if path in chosen:
                return redraw(domain, trace[path], rng)
            return trace[path] if path in trace else domain.draw(rng)

        return self.resolve(decide)

    def crossover(self, one: Trace, other: Trace, rng: Random) -> tuple[Architecture, Trace]:
        """Mix two traces: each decision from either parent, or from the one in which it is active."""

        def decide(path: str, domain: Decision) -> Scalar:
            holders = [parent for parent in (one, other) if path in parent]
            return rng.choice(holders)[path] if holders else domain.draw(rng)

        return self.resolve(decide)

    def diff(self, before: Architecture, after: Architecture) -> list[Change]:
        """List the decisions in which two architectures differ, in the order of the walk."""
        old, new = self.trace(before), self.trace(after)
        paths = [*old, *(path for path in new if path not in old)]
        return [Change(p, old.get(p), new.get(p)) for p in paths if (p in old, old.get(p)) != (p in new, new.get(p))]


def _unmarked(described: Any) -> Any:
    """Leave out of a described tree what may change in mid-training: a bool, where a decision of that name is none."""
    if isinstance(described, dict):
        marks = {name for name, each in described.items() if name == "changeable" and isinstance(each, bool)}
        return {name: _unmarked(each) for name, each in described.items() if name not in marks}
    return [_unmarked(each) for each in described] if isinstance(described, list) else described
