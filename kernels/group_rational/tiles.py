"""The same values and gradients as `reference`, tile by tile and in place, for eager torch on a CPU.

A tile with all that is worked out from it fits a core's cache; over all of x at once every operator would write to
memory and read from it, which takes several times as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

TILE = 1 << 16
NARROW, WORTH = 512, 8  # groups shorter than this, in tiles of at least so many rows, get coefficients written out
Place = tuple[slice, slice, slice]


def value(x: Tensor, numerator: Tensor, denominator: Tensor) -> Tensor:
    """Return r(x) of x [rows, groups, inner]."""
    found = torch.empty_like(x)
    a, b = _coefficients(x, numerator, denominator)
    for place, (p, q) in _places(x, 2):
        tile = _wide(x[place])
        _horner(torch.abs(tile, out=p), b, out=q)
        torch.div(_horner(tile, a, out=p), q, out=found[place])
    return found


def gradients(grad: Tensor, x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the gradients of x, the numerator and the denominator."""
    slopes = torch.empty_like(x)
    a, b = _coefficients(x, numerator, denominator)
    a_slope, b_slope = ([i * c for i, c in enumerate(each)][1:] for each in (a, b))
    sums = a[0].new_zeros(len(a) + len(b) - 1, *a[0].shape)
    total = _total if a[0].shape[-1] == 1 else _total_of_each_column
    for place, (size, q, r, u, pull) in _places(x, 5):
        tile = _wide(x[place])
        _horner(torch.abs(tile, out=size), b, out=q)
        _horner(tile, a, out=r).div_(q)
        torch.div(_wide(grad[place]), q, out=u)
        _horner(size, b_slope, out=pull).mul_(torch.sign(tile, out=q)).mul_(r)
        torch.mul(_horner(tile, a_slope, out=q).sub_(pull), u, out=slopes[place])
        below = r.mul_(u)
        above = [total(u), *(total(u.mul_(tile)) for _ in a[1:])]
        sums += torch.stack([*above, *(total(below.mul_(size)) for _ in b[1:])])
    over, under = sums.sum(-1).T.tensor_split([len(a)], 1)
    return slopes, over.to(numerator.dtype), (-under * denominator.sign()).to(denominator.dtype)


def _coefficients(x: Tensor, numerator: Tensor, denominator: Tensor) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Return a_0, a_1, ... and 1, |b_1|, ..., each to be broadcast against a tile.

    For short groups they are written out, because torch's loops do not go beyond a broadcast dimension.
    """
    height, width = _shape(x)
    dtype = torch.promote_types(x.dtype, torch.float32)
    b = torch.cat([torch.ones_like(denominator[:, :1]), denominator.abs()], 1)
    a, b = (each.to(dtype).T[..., None] for each in (numerator, b))
    if width == x.shape[2] < NARROW and height >= WORTH:
        a, b = (each.expand(-1, -1, width).contiguous() for each in (a, b))
    return a.unbind(), b.unbind()


def _shape(x: Tensor) -> tuple[int, int]:
    rows, groups, inner = x.shape
    width = max(1, min(inner, TILE // groups))
    return max(1, min(rows, TILE // (groups * width))), width


def _places(x: Tensor, count: int) -> Iterator[tuple[Place, Sequence[Tensor]]]:
    """Go through the tiles of x, each with `count` buffers of its shape, the same memory for all."""
    height, width = _shape(x)
    buffers = x.new_empty(count, height, x.shape[1], width, dtype=torch.promote_types(x.dtype, torch.float32))
    for row in range(0, x.shape[0], height):
        for column in range(0, x.shape[2], width):
            place = slice(row, row + height), slice(None), slice(column, column + width)
            yield place, buffers[:, : x.shape[0] - row, :, : x.shape[2] - column].unbind()


def _wide(tile: Tensor) -> Tensor:
    return tile.to(torch.promote_types(tile.dtype, torch.float32))


def _horner(x: Tensor, c: Sequence[Tensor], out: Tensor) -> Tensor:
    torch.addcmul(c[-2], c[-1], x, out=out)
    for coefficient in reversed(c[:-2]):
        torch.addcmul(coefficient, out, x, out=out)
    return out


def _total(values: Tensor) -> Tensor:
    return values.sum(2).sum(0)[:, None]


def _total_of_each_column(values: Tensor) -> Tensor:
    return values.sum(0)
