"""A family of expressions as decisions: join(left(x), outer(inner(x))), such as x*tanh(softplus(x)).

Few decisions, as they count for each stage of a network, and only primitives of which every combination is stable.
`left` grows linearly, `outer` levels off, so that their product grows linearly, too. With a learned slope, `inner` is
applied to learned(1)*x, a slope for each channel.
"""

from __future__ import annotations

from search_spaces.decisions import Choice, Struct
from search_spaces.expressions.tree import Binary, Learned, Tree, Unary, X

OPTIONS = Struct(
    join=Choice("mul", "add", "max"),
    left=Choice("x", "abs", "softplus"),
    outer=Choice("sigmoid", "tanh", "erf"),
    inner=Choice("x", "abs", "square", "softplus", "log1p", "exp"),
    slope=Choice("fixed", "learned"),
)


def compose(join: str, left: str, outer: str, inner: str, slope: str) -> Tree:
    """Return join(left(x), outer(inner(x))); raises ValueError for a name that is no primitive."""
    if slope not in ("fixed", "learned"):
        raise ValueError(f"slope is {slope!r}, but fixed or learned is allowed")
    x = Binary("mul", Learned(1), X()) if slope == "learned" else X()
    return Binary(join, _applied(left, X()), Unary(outer, _applied(inner, x)))


def _applied(name: str, tree: Tree) -> Tree:
    return tree if name == "x" else Unary(name, tree)
