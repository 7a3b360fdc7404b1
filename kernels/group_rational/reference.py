"""The reference of group_rational, of plain torch operators; x is [rows, groups, inner].

Eager on a CPU it works tile by tile (`tiles`), so that what it works out stays in the cache. Where a graph is captured,
and on other devices, it is one expression over all of x, which a compiler can fuse.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from kernels.group_rational import tiles
from kernels.group_rational.differentiation import differentiable

Coefficients = Sequence[Tensor]
NARROW = 32


def value(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return r(x) by one expression."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    a, b = coefficients(numerator, denominator, wide.dtype)
    return (horner(wide, a)[0] / horner(wide.abs(), b)[0]).to(x.dtype)


def gradients(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator by one expression, which autograd can go through."""
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    a, b = coefficients(numerator, denominator, wide.dtype)
    size = wide.abs()
    p, p_slope = horner(wide, a)
    q, q_slope = horner(size, b)
    u, r = grad / q, p / q
    slope = u * (p_slope - r * q_slope * wide.sign())
    above = [total(each) for each in powers(u, wide, len(a))]
    below = [total(each) for each in powers(-r * u * size, size, len(b) - 1)]
    return (
        slope.to(x.dtype),
        torch.stack(above, -1).to(numerator.dtype),
        (torch.stack(below, -1) * denominator.sign()).to(denominator.dtype),
    )


def coefficients(numerator: Tensor, denominator: Tensor, dtype: torch.dtype) -> tuple[Coefficients, Coefficients]:
    """Return a_0, a_1, ... and 1, |b_1|, |b_2|, ..., each [groups, 1]."""
    b = denominator.abs().to(dtype).mT[..., None].unbind()
    return numerator.to(dtype).mT[..., None].unbind(), (torch.ones_like(b[0]), *b)


def horner(x: Tensor, c: Coefficients) -> tuple[Tensor, Tensor]:
    """Return the polynomial c_0 + c_1·x + c_2·x² + ... and its derivative, by one joint Horner scheme."""
    polynomial, slope = torch.addcmul(c[-2], c[-1], x), c[-1]
    for coefficient in reversed(c[:-2]):
        slope = torch.addcmul(polynomial, slope, x)
        polynomial = torch.addcmul(coefficient, polynomial, x)
    return polynomial, slope


def powers(first: Tensor, x: Tensor, count: int) -> list[Tensor]:
    """Return first, first·x, first·x², ..., `count` of them."""
    found = [first]
    while len(found) < count:
        found.append(found[-1] * x)
    return found


def total(values: Tensor) -> Tensor:
    """Sum values [rows, groups, inner] of each group; inner first is what inductor makes fast loops of."""
    return values.sum(-1).sum(0) if values.shape[-1] >= NARROW else values.sum((0, 2))


def _value(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    return (tiles.value if _in_tiles(x) else value)(x, numerator, denominator)


def _gradients(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return (tiles.gradients if _in_tiles(x) else gradients)(grad, x, numerator, denominator)


def _in_tiles(x: Tensor) -> bool:
    return x.device.type == "cpu" and not torch.compiler.is_compiling()


rational = differentiable(_value, _gradients, gradients)
