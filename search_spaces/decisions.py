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
the path `path[*]`. Random draws, samplers, mutation, crossover and replay are all deciders. A decider may
also answer with a mixture of options (`search_spaces.mixtures`), and then all of them are walked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar

from search_spaces.mixtures.answers import KEY, MIXTURE, Mixed, Mixture, mixed, written

Scalar = str | int | float | bool | None
Architecture = Any
_SEVERAL: Any = object()
Trace = dict[str, Scalar]  # that of a relaxed architecture holds Mixtures too

NO_SIZES = "nothing in the space blends its sizes"
NO_COMPONENTS = "its options are plain values, and only components can be blended"
NO_OPTIONS = "a range of numbers has no options"


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
    barrier: str = field(default=NO_SIZES, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.low > self.high or self.step < 1:
            raise ValueError(f"{self} is empty: low must not exceed high, and step must be at least 1")
        if self.log and (self.low < 1 or self.step != 1):
            raise ValueError(f"{self}: a logarithmic Integer starts at 1 or above and has step 1")
        object.__setattr__(self, "high", self.high - (self.high - self.low) % self.step)

    @property
    def options(self) -> tuple[int, ...]:
        return tuple(range(self.low, self.high + 1, self.step))

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
    barrier: ClassVar[str] = NO_OPTIONS
    options: ClassVar[tuple[float, ...]] = ()

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

    __slots__ = ("barrier", "changeable", "inner", "options")

    def __init__(self, *plain: Scalar, **nested: Domain) -> None:
        inner: dict[Scalar, Domain] = dict(nested.items())
        self.options: tuple[Scalar, ...] = (*plain, *nested)
        self.inner: Mapping[Scalar, Domain] = MappingProxyType(inner)
        self.changeable = False
        self.barrier = NO_COMPONENTS
        if KEY in nested:
            raise ValueError(f"a Choice cannot have inner decisions under {KEY!r}, which marks a mixture")
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
    barrier: str = field(default=NO_SIZES, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise ValueError(f"a Repeat needs 0 <= low <= high, but got {self.low} and {self.high}")

    @property
    def length(self) -> Integer:
        return Integer(self.low, self.high, barrier=self.barrier)


Decision = Choice | Integer | Real
Domain = Choice | Integer | Real | Struct | Repeat
Decider = Callable[[str, Decision], Scalar | Mixture]
Leaf = TypeVar("Leaf", Choice, Integer, Real)
Mixable = TypeVar("Mixable", Choice, Integer, Repeat)


def changeable(decision: Leaf) -> Leaf:
    """Mark a decision as one that may change in mid-training (population based training)."""
    marked = copy(decision)
    object.__setattr__(marked, "changeable", True)
    return marked


def mixable(decision: Mixable, barrier: str = "") -> Mixable:
    """Mark a decision (of a Repeat, its length) as one that may be a mixture, or say why it may not."""
    marked = copy(decision)
    object.__setattr__(marked, "barrier", barrier)
    return marked


def resolve(tree: Domain, decide: Decider) -> tuple[Architecture, Trace]:
    """Walk a tree, asking `decide` at every decision with more than one value.

    Returns the architecture and its trace. Raises DecisionError when an answer is outside its domain, or is a
    mixture where none can be.
    """
    trace: Trace = {}

    def answer(path: str, domain: Decision) -> Any:
        only = sole_value(domain)
        if only is not _SEVERAL:
            return only
        trace[path] = accept(path, domain, decide(path, domain))
        return trace[path]

    def walk(path: str, node: Domain, option: Any = _SEVERAL) -> Architecture:
        if isinstance(node, Struct):
            lead = f"{path}." if path else ""
            return {name: walk(lead + name, field) for name, field in node.fields.items()}
        if isinstance(node, Repeat):
            length: Any = answer(f"{path}#", node.length)
            if isinstance(length, Mixture):
                lengths = blended(node.length, length)
                return written(f"{path}#", lengths, items(path, node, max(lengths)))
            return items(path, node, length)
        value = answer(path, node) if option is _SEVERAL else option
        if isinstance(node, Choice) and value in node.inner:
            return {value: walk(f"{path}:{value}", node.inner[value])}
        if type(value) is Mixture:
            return written(path, [walk(path, node, each) for each in blended(node, value)])
        return value

    def items(path: str, node: Repeat, length: int) -> list[Architecture]:
        if node.tied:
            item = walk(f"{path}[*]", node.item) if length else None
            return [item] * length
        return [walk(f"{path}[{i}]", node.item) for i in range(length)]

    return walk("", tree), trace


def trace_of(tree: Domain, architecture: Architecture) -> Trace:
    """Return the trace that resolves to an architecture; the inverse of `resolve`, and the validation.

    Raises DecisionError naming the first path that is wrong.
    """
    trace: Trace = {}

    def note(path: str, domain: Decision, value: Any) -> Scalar:
        checked: Scalar = accept(path, domain, value)
        if sole_value(domain) is _SEVERAL:
            trace[path] = checked
        return checked

    def note_mixture(path: str, domain: Decision, found: Mixed) -> None:
        noted: Any = _blend(path, domain, Mixture(*found.names))
        if found.path != path or found.names != blended(domain, noted):
            raise DecisionError(f"{path} holds a mixture of {found.path} or in another order than {domain}")
        trace[path] = noted

    def walk(path: str, node: Domain, value: Any, check: Callable[[str, Decision, Any], Scalar] = note) -> None:
        if isinstance(node, Struct):
            _expect_keys(path, value, node.fields)
            lead = f"{path}." if path else ""
            for name, field in node.fields.items():
                walk(lead + name, field, value[name])
        elif isinstance(node, Repeat):
            if found := mixed(value):
                note_mixture(f"{path}#", node.length, found)
                return walk_items(path, node, found.items, max(found.options))
            if not isinstance(value, list):
                raise DecisionError(
                    f"{path} is {_brief(value)}, but a list of {node.low} to {node.high} items is asked"
                )
            note(f"{path}#", node.length, len(value))
            walk_items(path, node, value, len(value))
        elif isinstance(value, dict) and KEY in value:
            walk_options(path, node, value)
        elif isinstance(value, dict) and isinstance(node, Choice) and len(value) == 1:
            option, inner = next(iter(value.items()))
            check(path, node, option)
            if option not in node.inner:
                raise DecisionError(f"{path}:{option} has no inner decisions, but got {_brief(inner)}")
            walk(f"{path}:{option}", node.inner[option], inner)
        else:
            option = check(path, node, value)
            if isinstance(node, Choice) and option in node.inner:
                raise DecisionError(
                    f"{path} is {_brief(value)} without its inner decisions: write {{{_brief(value)}: ...}}"
                )

    def walk_items(path: str, node: Repeat, value: Any, length: int) -> None:
        if not isinstance(value, list) or len(value) != length:
            raise DecisionError(f"{path} holds {_brief(value)}, but a list of {length} items is asked")
        if node.tied and any(item != value[0] for item in value):
            raise DecisionError(f"{path} has items that differ, but its items are tied")
        for i, item in enumerate(value[:1] if node.tied else value):
            walk(f"{path}[*]" if node.tied else f"{path}[{i}]", node.item, item)

    def walk_options(path: str, node: Decision, value: Any) -> None:
        found = mixed(value)
        assert found is not None
        note_mixture(path, node, found)
        for option in found.options:
            walk(path, node, option, accept)

    walk("", tree, architecture)
    return trace


def accept(path: str, domain: Decision, value: Any) -> Any:
    """Return the value or mixture as its domain writes it; raise DecisionError when it is not allowed."""
    checked = domain.check(value)
    if checked is None and not (value is None and isinstance(domain, Choice) and None in domain.options):
        if isinstance(value, Mixture):
            return _blend(path, domain, value)
        raise DecisionError(f"{path or 'the tree'} is {_brief(value)}, but {domain} is allowed")
    return checked


def blended(domain: Decision, mixture: Mixture) -> tuple[Any, ...]:
    """Return the options in a mixture, in the order of their domain."""
    return mixture.options or domain.options


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


def sole_value(domain: Decision) -> Any:
    """Return the one value of a domain that leaves nothing to decide, else a marker."""
    if isinstance(domain, Choice):
        return domain.options[0] if len(domain.options) == 1 else _SEVERAL
    return domain.low if domain.low == domain.high else _SEVERAL


def _blend(path: str, domain: Decision, answer: Mixture) -> Any:
    """Return a mixture as its domain writes it, MIXTURE where it has all options."""
    if domain.barrier:
        raise DecisionError(f"{path} cannot be a mixture, because {domain.barrier}: fix it or let it be drawn")
    wanted = [accept(path, domain, option) for option in answer.options]
    if answer.options and len(set(wanted)) < 2:
        raise DecisionError(f"{path} is a mixture of {_brief(wanted)}, but one of two options or more is asked")
    ordered = Mixture(*(option for option in domain.options if option in wanted))
    return MIXTURE if ordered.options in ((), domain.options) else ordered


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
