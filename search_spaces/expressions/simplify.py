"""The canonical form of an expression, by rules that leave every floating-point result as it is.

A rule is an identity of the computed numbers, not only of the real ones, wherever all values on the way are finite:
0·a = 0, a + 0 = a, a·a = square(a), |square(a)| = square(a), -(a - b) = b - a, constants worked out. Regrouping
(a + b) + c or writing 1 - sigmoid(a) as sigmoid(-a) would change the last digits, so it is left alone. The operands
of commutative primitives are put in order. Each rule makes the tree smaller or puts it in order, so the form is never
larger than what it was made from. Where two operands tie, the slope of max may differ from that of what stands for it.
"""

from __future__ import annotations

import torch

from search_spaces.expressions.primitives import COMMUTATIVE
from search_spaces.expressions.text import show
from search_spaces.expressions.tree import LARGEST, Binary, Constant, Tree, Unary, evaluate, size, starts_of

EVEN = frozenset({"abs", "square", "sqrt", "log1p", "cos"})
NEVER_NEGATIVE = frozenset({"abs", "square", "sqrt", "exp", "log1p", "sigmoid", "softplus", "relu"})
ZERO = Constant(0)


def simplify(tree: Tree) -> Tree:
    """Return the canonical form: the same values, never more nodes, and itself when simplified again."""
    if isinstance(tree, Unary):
        tree = Unary(tree.name, simplify(tree.argument))
        better = _unary(tree)
    elif isinstance(tree, Binary):
        tree = _in_order(tree.name, simplify(tree.left), simplify(tree.right))
        better = _binary(tree)
    else:
        return tree
    return tree if better is None else simplify(better)


def _unary(tree: Unary) -> Tree | None:
    match tree:
        case Unary(_, Constant()):
            return _worked_out(tree)
        case Unary("neg", Unary("neg", a)):
            return a
        case Unary("neg", Binary("sub", a, b)):
            return Binary("sub", b, a)
        case Unary(name, Unary("neg" | "abs", a)) if name in EVEN:
            return Unary(name, a)
        case Unary("abs" | "relu", a) if _never_negative(a):
            return a
    return None


def _binary(tree: Binary) -> Tree | None:
    """Apply the first rule that fits; a constant operand of a commutative primitive stands on the left."""
    match tree:
        case Binary(_, Constant(), Constant()):
            return _worked_out(tree)
        case Binary("add", Constant(0), a) | Binary("sub", a, Constant(0)):
            return a
        case Binary("mul", Constant(1), a) | Binary("div", a, Constant(1)):
            return a
        case Binary("mul", Constant(-1), a) | Binary("div", a, Constant(-1)) | Binary("sub", Constant(0), a):
            return Unary("neg", a)
        case Binary("mul" | "div", Constant(0), _):
            return ZERO
        case Binary("add", a, Unary("neg", b)) | Binary("add", Unary("neg", b), a):
            return Binary("sub", a, b)
        case Binary("sub", a, Unary("neg", b)):
            return Binary("add", a, b)
        case Binary("mul", Unary("neg", a), Unary("neg", b)):
            return Binary("mul", a, b)
        case Binary("mul", Constant(c), Unary("neg", a)):
            return Binary("mul", Constant(-c), a)
        case Binary("mul", a, Unary("square", b)) if _same(a, b):
            return Unary("cube", a)
        case Binary("max", Constant(0), a):
            return Unary("relu", a)
        case Binary("max", Constant(c), a) if c < 0 and _never_negative(a):
            return a
        case Binary("max", a, Unary("neg", b)) if _same(a, b):
            return Unary("abs", a)
    return _of_twins(tree) if _same(tree.left, tree.right) else None


def _of_twins(tree: Binary) -> Tree | None:
    match tree.name:
        case "sub":
            return ZERO
        case "mul":
            return Unary("square", tree.left)
        case "max" | "min":
            return tree.left
    return None


def _in_order(name: str, left: Tree, right: Tree) -> Binary:
    if name in COMMUTATIVE:
        left, right = sorted((left, right), key=lambda tree: (not isinstance(tree, Constant), size(tree), show(tree)))
    return Binary(name, left, right)


def _same(a: Tree, b: Tree) -> bool:
    """Whether two trees always have the same value; two learned numbers need not, though they start alike."""
    return a == b and not starts_of(a)


def _never_negative(tree: Tree) -> bool:
    match tree:
        case Constant(value):
            return value >= 0
        case Unary(name, _):
            return name in NEVER_NEGATIVE
        case Binary("add" | "mul" | "div" | "min", a, b):
            return _never_negative(a) and _never_negative(b)
        case Binary("max", a, b):
            return _never_negative(a) or _never_negative(b)
    return False


def _worked_out(tree: Tree) -> Tree | None:
    value = evaluate(tree, torch.zeros(1, dtype=torch.float64)).item()
    return Constant(value) if abs(value) <= LARGEST else None
