"""The nodes of an expression, its value at a tensor, and access to its subtrees by their place in preorder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from search_spaces.expressions.primitives import BINARY, UNARY

LARGEST = 1e30


@dataclass(frozen=True)
class X:
    """The input."""


@dataclass(frozen=True)
class Constant:
    """A fixed number, which float32 can hold."""

    value: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "value", _inside("a constant", self.value))


@dataclass(frozen=True)
class Learned:
    """A trainable number, one for each channel, that starts at a value. Every occurrence is a number of its own."""

    start: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", _inside("a learned number", self.start))


@dataclass(frozen=True)
class Unary:
    """A primitive of one argument."""

    name: str
    argument: Tree

    def __post_init__(self) -> None:
        if self.name not in UNARY:
            raise ValueError(f"unknown primitive {self.name!r}; of one argument there are: {', '.join(UNARY)}")


@dataclass(frozen=True)
class Binary:
    """A primitive of two arguments."""

    name: str
    left: Tree
    right: Tree

    def __post_init__(self) -> None:
        if self.name not in BINARY:
            raise ValueError(f"unknown primitive {self.name!r}; of two arguments there are: {', '.join(BINARY)}")


Tree = X | Constant | Learned | Unary | Binary


def evaluate(tree: Tree, x: Tensor, learned: Sequence[Tensor] | None = None) -> Tensor:
    """Return the value of a tree at every element of x, in its shape and dtype.

    `learned` holds the trainable numbers from left to right, each broadcast against x; by default each is where
    it starts.
    """
    starts = [x.new_full((), start) for start in starts_of(tree)]
    return _value(tree, x, iter(starts if learned is None else learned)).expand(x.shape)


def _value(tree: Tree, x: Tensor, learned: Iterator[Tensor]) -> Tensor:
    if isinstance(tree, X):
        return x
    if isinstance(tree, Constant):
        return x.new_full((), tree.value)
    if isinstance(tree, Learned):
        return next(learned)
    if isinstance(tree, Unary):
        return UNARY[tree.name](_value(tree.argument, x, learned))
    left = _value(tree.left, x, learned)
    return BINARY[tree.name](left, _value(tree.right, x, learned))


def starts_of(tree: Tree) -> list[float]:
    """List where the trainable numbers of a tree start, from left to right."""
    return [node.start for node in subtrees(tree) if isinstance(node, Learned)]


def children(tree: Tree) -> tuple[Tree, ...]:
    """Return the arguments of a node."""
    if isinstance(tree, Unary):
        return (tree.argument,)
    return (tree.left, tree.right) if isinstance(tree, Binary) else ()


def subtrees(tree: Tree) -> list[Tree]:
    """List a tree and all below it in preorder: a node, then its left argument, then its right one."""
    return [tree, *(below for child in children(tree) for below in subtrees(child))]


def replaced(tree: Tree, place: int, by: Tree) -> Tree:
    """Return the tree with another one at a place in preorder, 0 for the root."""
    if place == 0:
        return by
    if isinstance(tree, Unary):
        return replace(tree, argument=replaced(tree.argument, place - 1, by))
    if isinstance(tree, Binary):
        beyond = place - 1 - size(tree.left)
        if beyond < 0:
            return replace(tree, left=replaced(tree.left, place - 1, by))
        return replace(tree, right=replaced(tree.right, beyond, by))
    raise IndexError(f"a leaf has no place {place}")


def size(tree: Tree) -> int:
    """Count the nodes."""
    return 1 + sum(size(child) for child in children(tree))


def depth(tree: Tree) -> int:
    """Count the nodes from the root to the deepest leaf."""
    return 1 + max((depth(child) for child in children(tree)), default=0)


def _inside(what: str, value: float) -> float:
    if not abs(value) <= LARGEST:
        raise ValueError(f"{what} is at most ±{LARGEST:g}, but got {value}")
    return float(value) + 0.0
