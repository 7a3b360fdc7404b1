"""The decision language: a search space is a tree of decisions, resolved by one walk.

    Choice("relu", "gelu", helu=Struct(alpha=Real(0.01, 0.2)))   one of several options, some with inner decisions
    Integer(1, 8, step=1, log=False)                              a whole number, both ends included
    Real(1e-4, 1e-1, log=True)                                    a number, both ends included
    Struct(depth=Integer(1, 3), width=Choice(16, 32))             several decisions by name
    Repeat(item, 1, 4, tied=False)                                a list of 1 to 4 items, each decided anew or all alike

`resolve` walks a tree once and asks a *decider*, a function `(path, domain) -> value`, at every
decision that has more than one value. Out come the **architecture**, a plain JSON tree of the active
decisions, and its **trace**, a dictionary from path to value. A path names the options taken on the
way (`network.stages[0].layer:kan_conv2d.basis:bspline.intervals`), so one path always means one
decision with one domain. The length of a Repeat is the decision `path#`; the items of a tied one share
the path `path[*]`. Random draws, samplers, mutation, crossover and replay are all deciders.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass
from hashlib import sha256
from random import Random
from types import MappingProxyType
from typing import Any, TypeVar

Scalar = str | int | float | bool | None
Architecture = Any
Trace = dict[str, Scalar]


class DecisionError(ValueError):
    """A value that a space does not allow; the message names the path, the value and what is allowed."""


@dataclass(frozen=True)
class Integer:
    """A whole number in {low, low+step, ...} up to high; with `log`, drawn evenly in the logarithm."""

    low: int
    high: int
    step: int = 1
    log: bool = False
    changeable: bool = False

    def __post_init__(self) -> None:
        if self.low > self.high or self.step < 1:
            raise ValueError(f"{self} is empty: low must not exceed high, and step must be at least 1")
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError(f"{self}: a logarithmic Integer starts at 1 or above and has step 1")
        object.__setattr__(self, "high", self.high - (self.high - self.low) % self.step)

    def size(self) -> int:
        return (self.high - self.low) // self.step + 1

    def check(self, value: Any) -> int | None:
        """Return the value if it belongs to the domain, else None."""
        inside = type(value) is int and self.low <= value <= self.high and (value - self.low) % self.step == 0
        return value if inside else None

    def draw(self, rng: Random) -> int:
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low - 0.5), math.log(self.high + 0.5)))
            return min(max(round(drawn), self.low), self.high)
        return self.low + self.step * rng.randrange(self.size())

    def __str__(self) -> str:
        return f"an integer from {self.low} to {self.high}" + (f" in steps of {self.step}" if self.step > 1 else "")


@dataclass(frozen=True)
class Real:
    """A number from low to high, both included; with `log`, drawn evenly in the logarithm."""

    low: float
    high: float
    log: bool = False
    changeable: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low <= self.high):
            raise ValueError(f"Real({self.low}, {self.high}) is empty: both ends must be finite, low not above high")
        if self.log and self.low <= 0:
            raise ValueError(f"Real({self.low}, {self.high}): a logarithmic Real starts above 0")

    def size(self) -> float:
        return 1 if self.low == self.high else math.inf

    def check(self, value: Any) -> float | None:
        """Return the value as a float if it belongs to the domain, else None."""
        inside = isinstance(value, int | float) and not isinstance(value, bool) and self.low <= value <= self.high
        return float(value) + 0.0 if inside else None

    def draw(self, rng: Random) -> float:
        if self.log:
            drawn = math.exp(rng.uniform(math.log(self.low), math.log(self.high)))
            return min(max(drawn, self.low), self.high)
        return rng.uniform(self.low, self.high)

    def __str__(self) -> str:
        return f"a number from {self.low:g} to {self.high:g}"


class Choice:
    """One of several options: plain values, and named options that carry inner decisions."""

    __slots__ = ("changeable", "inner", "options")

    def __init__(self, *plain: Scalar, **nested: Domain) -> None:
        inner: dict[Scalar, Domain] = dict(nested.items())
        self.options: tuple[Scalar, ...] = (*plain, *nested)
        self.inner: Mapping[Scalar, Domain] = MappingProxyType(inner)
        self.changeable = False
        if not self.options:
            raise ValueError("a Choice needs at least one option")
        if len(set(self.options)) < len(self.options):
            raise ValueError(f"a Choice names each option once, but got {list(self.options)}")

    def size(self) -> float:
        return _total(size(self.inner[option]) if option in self.inner else 1 for option in self.options)

    def check(self, value: Any) -> Scalar:
        """Return the option that equals the value, else None (which may itself be an option)."""
        same: list[Scalar] = [o for o in self.options if o == value and type(o) is type(value)]
        return same[0] if same else None

    def draw(self, rng: Random) -> Scalar:
        return self.options[rng.randrange(len(self.options))]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and describe(self) == describe(other)

    def __hash__(self) -> int:
        return hash(self.options)

    def __repr__(self) -> str:
        inner = [f"{name}={domain!r}" for name, domain in self.inner.items()]
        return f"Choice({', '.join([repr(o) for o in self.options if o not in self.inner] + inner)})"

    def __str__(self) -> str:
        return "one of " + ", ".join(json.dumps(option) for option in self.options)


class Struct:
    """Several decisions by name, walked in the order in which they are declared."""

    __slots__ = ("fields",)

    def __init__(self, **fields: Domain) -> None:
        self.fields: Mapping[str, Domain] = MappingProxyType(fields)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Struct) and self.fields == other.fields

    def __hash__(self) -> int:
        return hash(tuple(self.fields))

    def __repr__(self) -> str:
        return f"Struct({', '.join(f'{name}={domain!r}' for name, domain in self.fields.items())})"


@dataclass(frozen=True)
class Repeat:
    """A list of low to high items; with `tied`, one item decided once and used everywhere."""

    item: Domain
    low: int
    high: int
    tied: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"a Repeat needs 0 <= low <= high, but got {self.low} and {self.high}")

    @property
    def length(self) -> Integer:
        return Integer(self.low, self.high)


Decision = Choice | Integer | Real
Domain = Choice | Integer | Real | Struct | Repeat
Decider = Callable[[str, Decision], Scalar]
Leaf = TypeVar("Leaf", Choice, Integer, Real)


def changeable(decision: Leaf) -> Leaf:
    """Mark a decision as one that may change in mid-training (population based training)."""
    marked = copy(decision)
    object.__setattr__(marked, "changeable", True)
    return marked


def resolve(tree: Domain, decide: Decider) -> tuple[Architecture, Trace]:
    """Walk a tree, asking `decide` at every decision with more than one value.

    Returns the architecture and its trace. Raises DecisionError when an answer is outside its domain.
    """
    trace: Trace = {}

    def answer(path: str, domain: Decision) -> Scalar:
        only: Scalar = sole_value(domain)
        if only is not _SEVERAL:
            return only
        trace[path] = accept(path, domain, decide(path, domain))
        return trace[path]

    def walk(path: str, node: Domain) -> Architecture:
        if isinstance(node, Struct):
            lead = f"{path}." if path else ""
            return {name: walk(lead + name, field) for name, field in node.fields.items()}
        if isinstance(node, Repeat):
            length: Any = answer(f"{path}#", node.length)
            if node.tied:
                item = walk(f"{path}[*]", node.item) if length else None
                return [item] * length
            return [walk(f"{path}[{i}]", node.item) for i in range(length)]
        value = answer(path, node)
        if isinstance(node, Choice) and value in node.inner:
            return {value: walk(f"{path}:{value}", node.inner[value])}
        return value

    return walk("", tree), trace


def trace_of(tree: Domain, architecture: Architecture) -> Trace:
    """Return the trace that resolves to an architecture; the inverse of `resolve`, and the validation.

    Raises DecisionError naming the first path that is wrong.
    """
    trace: Trace = {}

    def note(path: str, domain: Decision, value: Any) -> Scalar:
        checked = accept(path, domain, value)
        if sole_value(domain) is _SEVERAL:
            trace[path] = checked
        return checked

    def walk(path: str, node: Domain, value: Any) -> None:
        if isinstance(node, Struct):
            _expect_keys(path, value, node.fields)
            lead = f"{path}." if path else ""
            for name, field in node.fields.items():
                walk(lead + name, field, value[name])
        elif isinstance(node, Repeat):
            if not isinstance(value, list):
                raise DecisionError(
                    f"{path} is {_brief(value)}, but a list of {node.low} to {node.high} items is asked"
                )
            note(f"{path}#", node.length, len(value))
            if node.tied and any(item != value[0] for item in value):
                raise DecisionError(f"{path} has items that differ, but its items are tied")
            for i, item in enumerate(value[:1] if node.tied else value):
                walk(f"{path}[*]" if node.tied else f"{path}[{i}]", node.item, item)
        elif isinstance(node, Choice) and isinstance(value, dict) and len(value) == 1:
            option, inner = next(iter(value.items()))
            note(path, node, option)
            if option not in node.inner:
                raise DecisionError(f"{path}:{option} has no inner decisions, but got {_brief(inner)}")
            walk(f"{path}:{option}", node.inner[option], inner)
        else:
            option = note(path, node, value)
            if isinstance(node, Choice) and option in node.inner:
                raise DecisionError(
                    f"{path} is {_brief(value)} without its inner decisions: write {{{_brief(value)}: ...}}"
                )

    walk("", tree, architecture)
    return trace


def accept(path: str, domain: Decision, value: Any) -> Scalar:
    """Return the value as its domain writes it; raise DecisionError when it is not allowed."""
    checked = domain.check(value)
    if checked is None and not (value is None and isinstance(domain, Choice) and None in domain.options):
        raise DecisionError(f"{path or 'the tree'} is {_brief(value)}, but {domain} is allowed")
    return checked


def size(tree: Domain) -> float:
    """Count the architectures of a tree: an exact int, or math.inf where a Real is among the decisions."""
    if isinstance(tree, Struct):
        sizes = [size(field) for field in tree.fields.values()]
        return math.inf if math.inf in sizes else math.prod(sizes)
    if isinstance(tree, Repeat):
        item = size(tree.item)
        return _total(item ** (min(n, 1) if tree.tied else n) if n else 1 for n in range(tree.low, tree.high + 1))
    return tree.size()


def every(tree: Domain) -> dict[str, Decision]:
    """List all decisions of a tree by path, active together or not."""
    found: dict[str, Decision] = {}

    def note(path: str, domain: Decision) -> None:
        if sole_value(domain) is _SEVERAL:
            found[path] = domain

    def walk(path: str, node: Domain) -> None:
        if isinstance(node, Struct):
            for name, field in node.fields.items():
                walk(f"{path}.{name}" if path else name, field)
        elif isinstance(node, Repeat):
            note(f"{path}#", node.length)
            for index in ["*"][: node.high] if node.tied else range(node.high):
                walk(f"{path}[{index}]", node.item)
        else:
            note(path, node)
            for option, inner in node.inner.items() if isinstance(node, Choice) else ():
                walk(f"{path}:{option}", inner)

    walk("", tree)
    return found


def describe(tree: Domain) -> dict[str, Any]:
    """Describe a tree as plain JSON, for other programs and for telling one space from another."""
    if isinstance(tree, Struct):
        return {"struct": {name: describe(field) for name, field in tree.fields.items()}}
    if isinstance(tree, Repeat):
        return {"repeat": {"item": describe(tree.item), "low": tree.low, "high": tree.high, "tied": tree.tied}}
    if isinstance(tree, Choice):
        options = [{"value": o} | ({"inner": describe(tree.inner[o])} if o in tree.inner else {}) for o in tree.options]
        body: dict[str, Any] = {"options": options}
    elif isinstance(tree, Integer):
        body = {"low": tree.low, "high": tree.high, "step": tree.step, "log": tree.log}
    else:
        body = {"low": tree.low, "high": tree.high, "log": tree.log}
    return {type(tree).__name__.lower(): body | {"changeable": tree.changeable}}


def identity(architecture: Architecture) -> str:
    """Return the SHA-256 of the architecture's canonical JSON, as 64 hexadecimal digits."""
    return sha256(canonical(architecture).encode()).hexdigest()


def canonical(value: Any) -> str:
    """Write JSON with sorted keys and no spaces, so that equal values are equal texts."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def drawing(rng: Random) -> Decider:
    """Decide at random, each decision evenly over its domain."""
    return lambda path, domain: domain.draw(rng)


def replaying(trace: Mapping[str, Scalar], otherwise: Decider) -> Decider:
    """Decide as a trace did, and ask `otherwise` where the trace says nothing."""
    return lambda path, domain: trace[path] if path in trace else otherwise(path, domain)


def redraw(domain: Decision, value: Scalar, rng: Random) -> Scalar:
    """Draw a value that differs from the given one; the domain must have at least two."""
    while (drawn := domain.draw(rng)) == value:
        pass
    return drawn


def _total(sizes: Iterable[float]) -> float:
    """Add sizes; an exact int may be too large to be added to math.inf."""
    known = list(sizes)
    return math.inf if math.inf in known else sum(known)


_SEVERAL: Any = object()


def sole_value(domain: Decision) -> Any:
    """Return the one value of a domain that leaves nothing to decide, else a marker."""
    if isinstance(domain, Choice):
        return domain.options[0] if len(domain.options) == 1 else _SEVERAL
    return domain.low if domain.low == domain.high else _SEVERAL


def _expect_keys(path: str, value: Any, fields: Mapping[str, Any]) -> None:
    here = path or "the architecture"
    if not isinstance(value, dict):
        raise DecisionError(f"{here} is {_brief(value)}, but an object with {', '.join(fields)} is asked")
    for name in fields:
        if name not in value:
            raise DecisionError(f"{here} lacks {name!r}; it needs {', '.join(fields)}")
    for name in value:
        if name not in fields:
            raise DecisionError(f"{here} has an unknown entry {name!r}; it may have {', '.join(fields)}")


def _brief(value: Any) -> str:
    text = json.dumps(value, default=repr)
    return text if len(text) <= 60 else text[:57] + "..."
