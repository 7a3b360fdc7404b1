"""group_rational in Triton, forward and backward; x is contiguous [rows, groups, inner].

A program works on tiles of some rows by COLUMNS neighbouring values of one group. COLUMNS is a power of two that
divides `inner` where one does (96: 32), so that no lanes idle. Each lane reads VECTOR neighbouring values, 16 bytes,
at once. Half precision is widened right after each load.

The gradients of the coefficients need no atomics: a program of the backward pass walks over its share of the rows with
ten sums in registers, one for each lane, and writes ten numbers at its end. The number of rows is no compile-time
constant, so that another batch size compiles nothing.

This has been run in Triton's interpreter and compiled for sm_90, and never been run on a GPU.
"""

# mypy: disable-error-code="import-not-found, import-untyped, untyped-decorator, no-untyped-def, no-untyped-call"
# ruff: noqa: N803

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def _places(strip, strips, rows, groups, inner, LANES: tl.constexpr, VECTOR: tl.constexpr, COLUMNS: tl.constexpr):
    """Return the row [LANES, 1] and the offset [LANES, VECTOR] in a tile, which values are in x, and the group."""
    group = strip // strips
    lane = tl.arange(0, LANES)[:, None]
    row = lane // (COLUMNS // VECTOR)
    column = strip % strips * COLUMNS + lane % (COLUMNS // VECTOR) * VECTOR + tl.arange(0, VECTOR)[None, :]
    offset = row.to(tl.int64) * groups * inner + group * inner + column
    return row, offset, column < inner, group


@triton.jit
def _fifth(x, c0, c1, c2, c3, c4, c5):
    """Return c_0 + c_1·x + ... + c_5·x⁵ and its derivative, by one joint Horner scheme."""
    value = c5 * x + c4
    slope = c5 * x + value
    value = value * x + c3
    slope = slope * x + value
    value = value * x + c2
    slope = slope * x + value
    value = value * x + c1
    slope = slope * x + value
    return value * x + c0, slope


@triton.jit
def _fourth(x, c1, c2, c3, c4):
    """Return 1 + c_1·x + ... + c_4·x⁴ and its derivative."""
    value = c4 * x + c3
    slope = c4 * x + value
    value = value * x + c2
    slope = slope * x + value
    value = value * x + c1
    slope = slope * x + value
    return value * x + 1.0, slope


@triton.jit
def _numerator(start, group, WORK: tl.constexpr):
    """Load a_0, ..., a_5 of a group."""
    a = start + group * 6
    a0, a1, a2 = tl.load(a).to(WORK), tl.load(a + 1).to(WORK), tl.load(a + 2).to(WORK)
    return a0, a1, a2, tl.load(a + 3).to(WORK), tl.load(a + 4).to(WORK), tl.load(a + 5).to(WORK)


@triton.jit
def _denominator(start, group, WORK: tl.constexpr):
    """Load |b_1|, ..., |b_4| of a group."""
    b = start + group * 4
    b1, b2, b3, b4 = tl.load(b).to(WORK), tl.load(b + 1).to(WORK), tl.load(b + 2).to(WORK), tl.load(b + 3).to(WORK)
    return tl.abs(b1), tl.abs(b2), tl.abs(b3), tl.abs(b4)


@triton.jit(do_not_specialize=["rows"])
def value_kernel(
    x_start,
    y_start,
    a_start,
    b_start,
    rows,
    groups,
    inner,
    WORK: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    strips = tl.cdiv(inner, COLUMNS)
    program = tl.program_id(0)
    first = program // (groups * strips) * (LANES * VECTOR // COLUMNS)
    row, offset, inside, group = _places(
        program % (groups * strips), strips, rows, groups, inner, LANES, VECTOR, COLUMNS
    )
    offset += first.to(tl.int64) * groups * inner
    inside &= row < rows - first
    x = tl.load(x_start + offset, mask=inside, other=0.0).to(WORK)
    a0, a1, a2, a3, a4, a5 = _numerator(a_start, group, WORK)
    b1, b2, b3, b4 = _denominator(b_start, group, WORK)
    p, _ = _fifth(x, a0, a1, a2, a3, a4, a5)
    q, _ = _fourth(tl.abs(x), b1, b2, b3, b4)
    tl.store(y_start + offset, (p / q).to(y_start.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["rows", "splits"])
def gradients_kernel(
    grad_start,
    x_start,
    a_start,
    b_start,
    slope_start,
    sums_start,
    rows,
    groups,
    inner,
    splits,
    WORK: tl.constexpr,
    LANES: tl.constexpr,
    VECTOR: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    strips = tl.cdiv(inner, COLUMNS)
    program = tl.program_id(0)
    height = LANES * VECTOR // COLUMNS
    row, place, across, group = _places(
        program % (groups * strips), strips, rows, groups, inner, LANES, VECTOR, COLUMNS
    )
    # Loaded before the loop: the compiler cannot know that the stores in it leave the coefficients alone.
    a0, a1, a2, a3, a4, a5 = _numerator(a_start, group, WORK)
    b1, b2, b3, b4 = _denominator(b_start, group, WORK)
    none = tl.zeros([LANES], WORK)
    u0, u1, u2, u3, u4, u5 = none, none, none, none, none, none
    w1, w2, w3, w4 = none, none, none, none
    for first in range(program // (groups * strips) * height, rows, splits * height):
        offset = place + tl.cast(first, tl.int64) * groups * inner
        inside = across & (row < rows - first)
        x = tl.load(x_start + offset, mask=inside, other=0.0).to(WORK)
        grad = tl.load(grad_start + offset, mask=inside, other=0.0).to(WORK)
        size = tl.abs(x)
        p, p_slope = _fifth(x, a0, a1, a2, a3, a4, a5)
        q, q_slope = _fourth(size, b1, b2, b3, b4)
        inverse = 1.0 / q
        u, r = grad * inverse, p * inverse
        signed = tl.where(x > 0, q_slope, tl.where(x < 0, -q_slope, 0.0))
        slope = u * (p_slope - r * signed)
        tl.store(slope_start + offset, slope.to(slope_start.dtype.element_ty), mask=inside)
        w, square = -r * u, x * x
        cube, fourth = square * x, square * square
        u0 += tl.sum(u, 1)
        u1 += tl.sum(u * x, 1)
        u2 += tl.sum(u * square, 1)
        u3 += tl.sum(u * cube, 1)
        u4 += tl.sum(u * fourth, 1)
        u5 += tl.sum(u * (fourth * x), 1)
        w1 += tl.sum(w * size, 1)
        w2 += tl.sum(w * square, 1)
        w3 += tl.sum(w * tl.abs(cube), 1)
        w4 += tl.sum(w * fourth, 1)
    sums = sums_start + program * 10
    tl.store(sums, tl.sum(u0, 0))
    tl.store(sums + 1, tl.sum(u1, 0))
    tl.store(sums + 2, tl.sum(u2, 0))
    tl.store(sums + 3, tl.sum(u3, 0))
    tl.store(sums + 4, tl.sum(u4, 0))
    tl.store(sums + 5, tl.sum(u5, 0))
    tl.store(sums + 6, tl.sum(w1, 0))
    tl.store(sums + 7, tl.sum(w2, 0))
    tl.store(sums + 8, tl.sum(w3, 0))
    tl.store(sums + 9, tl.sum(w4, 0))
