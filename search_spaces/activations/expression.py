"""Activations given as small expression trees, so that the activation itself is searched.

From Evolving Normalization-Activation Layers come trees over primitives as candidates, their variation by small random
changes, and the rejection of what is unstable before it is trained; from A Method on Searching Better Activation
Functions that a known activation with a trainable correction is a candidate, as `relu(x)+learned(0.01)*x*exp(-x**2/2)`.
Left out: moments over batch and space, so these are activations without a normalisation; the rejection by a short
training and by weights made worse on purpose, in whose place stand closed conditions on the function (`stability`);
and the optimisation of an entropy functional. How well an expression keeps the variance through a deep stack differs
from one to the other: those like silu do as silu does (see `standard`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from search_spaces.expressions.grammar import OPTIONS, compose
from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.stability import check
from search_spaces.expressions.text import parse, show
from search_spaces.expressions.tree import Tree, evaluate, starts_of
from search_spaces.registry import register


class Expression(nn.Module):
    """f(x) of a text or a tree, in its canonical form, with a number for each channel where it says `learned`.

    Shapes: [batch, channels, ...] to the same; learned numbers [count, channels], from left to right in the canonical
    form. Half precision is worked out in float32. Raises ExpressionError for a text that is no expression, and
    Unstable, which are both ValueErrors.

    >>> Expression(16, "sigmoid(x)*x")
    Expression(x*sigmoid(x))
    >>> Expression(16, "max(0, x) + 0*exp(x)")
    Expression(relu(x))
    >>> Expression(16, "x**2")
    Traceback (most recent call last):
    search_spaces.expressions.stability.Unstable: square(x) is unstable: its slope at x=-1e+04 is -2e+04, ...
    """

    def __init__(self, channels: int, expression: str | Tree = "x*sigmoid(x)") -> None:
        super().__init__()
        self.tree = simplify(parse(expression) if isinstance(expression, str) else expression)
        check(self.tree)
        starts = torch.tensor(starts_of(self.tree))
        self.learned = nn.Parameter(starts[:, None].repeat(1, channels)) if len(starts) else None

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        learned: Sequence[Tensor] = ()
        if self.learned is not None:
            learned = self.learned.to(dtype)[(..., *[None] * (x.ndim - 2))].unbind()
        return evaluate(self.tree, x.to(dtype), learned).to(x.dtype)

    def extra_repr(self) -> str:
        return show(self.tree)


@register(
    "activation",
    "expression",
    paper="Evolving Normalization-Activation Layers; A Method on Searching Better Activation Functions",
    options=OPTIONS,
)
def expression(
    channels: int, join: str = "mul", left: str = "x", outer: str = "sigmoid", inner: str = "x", slope: str = "fixed"
) -> nn.Module:
    """join(left(x), outer(inner(x))) of searched primitives, such as x·tanh(softplus(x)).

    For a text of your own there is `Expression(channels, "x*sigmoid(x)")`.
    """
    return Expression(channels, compose(join, left, outer, inner, slope))
