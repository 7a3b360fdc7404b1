"""Rational functions in the safe Padé form, one for each group of channels (Kolmogorov-Arnold Transformer; FlashKAT).

    r(x) = P(x)/Q(x),  P(x) = a_0 + a_1·x + ... + a_5·x⁵,  Q(x) = 1 + |b_1|·|x| + ... + |b_4|·|x|⁴

For the backward pass only x and the coefficients are kept. With u = ∂L/∂r / Q and r, P' and Q' worked out again,

    ∂L/∂x = u·(P' - r·sign(x)·Q'(|x|)),  ∂L/∂a_i = Σ u·xⁱ,  ∂L/∂b_i = -sign(b_i)·Σ u·r·|x|ⁱ,  sign(0) = 0.

Half precision is worked out in float32 and rounded once: x⁵ overflows float16 beyond |x| = 9.2. In float32 it
overflows beyond |x| = 3e7.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from torch import Tensor

from kernels.choice import chosen
from kernels.group_rational import reference


def group_rational(x: Tensor, numerator: Tensor, denominator: Tensor, dim: int = -1) -> Tensor:
    """Return r(x) of the shape and the dtype of x, under autocast too; dimension `dim` of x holds the channels.

    `numerator` [groups, 6] holds a_0, ..., a_5 and `denominator` [groups, 4] b_1, ..., b_4. Neighbouring channels
    form a group. Raises ValueError when groups does not divide the channels or the coefficients have other shapes.
    """
    groups = _checked(x, numerator, denominator, dim)
    last = x.movedim(dim, -1)
    if not x.is_contiguous() and last.is_contiguous():
        return group_rational(last, numerator, denominator).movedim(-1, dim)
    dim %= x.ndim
    rows, inner = prod(x.shape[:dim]), prod(x.shape[dim:]) // groups
    return _form(x)(x.reshape(rows, groups, inner), numerator, denominator).reshape(x.shape)


def _checked(x: Tensor, numerator: Tensor, denominator: Tensor, dim: int) -> int:
    groups = len(numerator)
    above, below = tuple(numerator.shape), tuple(denominator.shape)
    if above != (groups, 6) or below != (groups, 4):
        raise ValueError(f"the coefficients are {above} and {below}, but (groups, 6) and (groups, 4) is allowed")
    if x.shape[dim] % groups:
        raise ValueError(f"{groups} groups do not divide {x.shape[dim]} channels")
    return groups


def _form(x: Tensor) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    if chosen(x.device) == "reference":
        return reference.rational
    from kernels.group_rational import triton_op

    return triton_op.rational
