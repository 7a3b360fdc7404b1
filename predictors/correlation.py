"""Rank correlations of two columns under many weightings of their rows at once, which is what a bootstrap asks for.

    Spearman   ρ = Σ_i w_i a_i b_i / √(Σ_i w_i a_i² · Σ_i w_i b_i²)      a, b: ranks of x and y less their mean
    Kendall    τ_b = wᵀSw / √(wᵀ|X|w · wᵀ|Y|w)      X_ij = sign(x_i − x_j), Y_ij = sign(y_i − y_j), S_ij = X_ij Y_ij

A row of weight w counts as w equal rows, and equal values share the mean of their ranks. All resamples of a bootstrap
are one matrix product with S, which is made a block of rows at a time: n² steps for each resample, but fast ones, and
every sum is one of whole numbers (or halves) and so exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Weights = NDArray[np.int64]
Statistic = Callable[[Values, Values, Weights], Values]
BLOCK = 2**22  # numbers that are held at once


def spearman(x: Values, y: Values, weights: Weights) -> Values:
    """Correlate the ranks of x [n] and y [n] under each row of weights [m, n]; [m], NaN where one is constant."""
    return np.concatenate([_spearman(x, y, weights[part]) for part in _parts(len(weights), len(x))])


def kendall(x: Values, y: Values, weights: Weights) -> Values:
    """Correlate the orders of pairs of x [n] and y [n] as `spearman` does their ranks."""
    one, other = _codes(x), _codes(y)
    agreeing, single = np.zeros(len(weights)), weights.astype(np.float32)
    for part in _parts(len(x), len(x)):
        signs = np.sign(one[part, None] - one) * np.sign(other[part, None] - other)
        agreeing += ((single @ signs.T.astype(np.float32)) * weights[:, part]).sum(1)
    return _ratio(agreeing, _unequal_pairs(one, weights), _unequal_pairs(other, weights))


STATISTICS: dict[str, Statistic] = {"spearman": spearman, "kendall": kendall}


def _spearman(x: Values, y: Values, weights: Weights) -> Values:
    one, other = (_centred_ranks(_codes(each), weights) for each in (x, y))
    product, *squares = ((weights * a * b).sum(1) for a, b in ((one, other), (one, one), (other, other)))
    return _ratio(product, *squares)


def _codes(values: Values) -> NDArray[np.int64]:
    """Number the distinct values in their order."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def _counts(codes: NDArray[np.int64], weights: Weights) -> Weights:
    """Add up the weights of each distinct value: [m, distinct]."""
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    summed: Weights = np.add.reduceat(weights[:, order], starts, axis=1)
    return summed


def _centred_ranks(codes: NDArray[np.int64], weights: Weights) -> Values:
    counts = _counts(codes, weights)
    ranks: Values = np.cumsum(counts, 1) - counts / 2 - weights.sum(1, keepdims=True) / 2
    return ranks[:, codes]


def _unequal_pairs(codes: NDArray[np.int64], weights: Weights) -> Values:
    """Count the ordered pairs of rows that differ, under each weighting."""
    pairs: Values = (weights.sum(1) ** 2 - (_counts(codes, weights) ** 2).sum(1)).astype(np.float64)
    return pairs


def _ratio(product: Values, one: Values, other: Values) -> Values:
    size, undefined = np.sqrt(one * other), np.full(len(product), np.nan)
    ratio: Values = np.clip(np.divide(product, size, out=undefined, where=size > 0), -1, 1)
    return ratio


def _parts(count: int, width: int) -> Iterator[slice]:
    """Part rows of a width into slices that hold a block's numbers or less."""
    step = max(1, BLOCK // max(1, width))
    return (slice(start, start + step) for start in range(0, max(1, count), step))
