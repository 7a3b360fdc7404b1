"""Random expressions, and new ones out of old ones: mutation and crossover, within a number of levels."""

from __future__ import annotations

from random import Random

from search_spaces.expressions.primitives import BINARY, UNARY
from search_spaces.expressions.tree import Binary, Constant, Tree, Unary, X, depth, replaced, subtrees

CONSTANTS = (0.1, 0.5, 1.0, 2.0, 3.0)
CONSTANT_SHARE, LEAF_SHARE = 0.3, 0.3
JITTER = 0.3


def grow(rng: Random, levels: int) -> Tree:
    """Draw an expression of at most so many levels; leaves are x, or one of a few constants."""
    if levels < 1:
        raise ValueError(f"an expression has at least 1 level, but got {levels}")
    if levels == 1 or rng.random() < LEAF_SHARE:
        return Constant(rng.choice(CONSTANTS)) if rng.random() < CONSTANT_SHARE else X()
    if rng.random() < 0.5:
        return Unary(rng.choice(list(UNARY)), grow(rng, levels - 1))
    return Binary(rng.choice(list(BINARY)), grow(rng, levels - 1), grow(rng, levels - 1))


def mutate(tree: Tree, rng: Random, levels: int) -> Tree:
    """Change one place of an expression: a new subtree, another primitive, a moved constant, one more or one less node.

    The result differs from the tree and has at most `levels` levels.
    """
    while True:
        place = rng.randrange(len(subtrees(tree)))
        mutation = rng.choice([_regrown, _swapped, _moved, _wrapped, _lifted])
        child = replaced(tree, place, mutation(subtrees(tree)[place], rng))
        if child != tree and depth(child) <= levels:
            return child


def crossover(one: Tree, other: Tree, rng: Random, levels: int) -> tuple[Tree, Tree]:
    """Exchange a random subtree of one expression with one of the other.

    A result of more than `levels` levels is given up for the parent whose place it would take.
    """
    here, there = (rng.randrange(len(subtrees(parent))) for parent in (one, other))
    children = (
        replaced(one, here, subtrees(other)[there]),
        replaced(other, there, subtrees(one)[here]),
    )
    first, second = (
        child if depth(child) <= levels else parent for child, parent in zip(children, (one, other), strict=True)
    )
    return first, second


def _regrown(tree: Tree, rng: Random) -> Tree:
    return grow(rng, rng.randint(1, 3))


def _swapped(tree: Tree, rng: Random) -> Tree:
    if isinstance(tree, Unary):
        return Unary(rng.choice(list(UNARY)), tree.argument)
    if isinstance(tree, Binary):
        return Binary(rng.choice(list(BINARY)), tree.left, tree.right)
    return Constant(rng.choice(CONSTANTS)) if isinstance(tree, X) else X()


def _moved(tree: Tree, rng: Random) -> Tree:
    if not isinstance(tree, Constant):
        return tree
    moved = tree.value + rng.gauss(0, JITTER) * max(abs(tree.value), CONSTANTS[0])
    return Constant(float(f"{moved:.3g}"))


def _wrapped(tree: Tree, rng: Random) -> Tree:
    if rng.random() < 0.5:
        return Unary(rng.choice(list(UNARY)), tree)
    pair = [tree, grow(rng, 2)]
    rng.shuffle(pair)
    return Binary(rng.choice(list(BINARY)), *pair)


def _lifted(tree: Tree, rng: Random) -> Tree:
    return rng.choice(subtrees(tree))
