"""Spectra of what is found at the places of maps: entropies of features, norms of what happens to gradients.

For features x with C the covariance of their channels over all samples and places, λ_k its eigenvalues, p_k = λ_k/Σλ:

    entropy = -Σ_k p_k·log p_k        0 for features that are constant up to rounding

and for gradients g at two layers

    norm = the largest singular value of E[g_before·g_afterᵀ], the mean over samples and places.

Where the later layer makes one place of many, they are one place with as many times the channels (pixel unshuffle,
padded with zeros at the end). Each eigenproblem is the smaller of two with the same eigenvalues but for zeros (channels
by channels or places by places), and those of one size are solved together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from predictors import Unscorable

ROUNDINGS = 16  # what differs from its mean by less than so many roundings of the mean is constant


def entropies(features: Sequence[Tensor]) -> list[float]:
    """Return the entropy of each block's features."""
    rows = [_rows(each.detach()) for each in features]
    means = [each.mean(0) for each in rows]
    centred = [each - mean for each, mean in zip(rows, means, strict=True)]
    grams = [_gram(each) / len(each) for each in centred]
    found = []
    for gram, away, mean in zip(_eigenvalues(grams, "features"), centred, means, strict=True):
        rounding = ROUNDINGS * torch.finfo(mean.dtype).eps * mean.abs().max()
        shares = gram.clamp(min=0) / gram.clamp(min=0).sum()
        found.append(0.0 if away.abs().max() <= rounding else torch.special.entr(shares).sum().item())
    return found


def norms(pairs: Sequence[tuple[Tensor, Tensor]]) -> list[float | None]:
    """Return the norm for each pair of gradients, before and after; None where their places do not correspond."""
    products = [_product(before, after) for before, after in pairs]
    found = iter(_eigenvalues([_gram(each) for each in products if each is not None], "gradients"))
    return [None if each is None else math.sqrt(max(0.0, next(found)[-1].item())) for each in products]


def _channels_last(x: Tensor) -> Tensor:
    """Return maps [n, c, ...] as [n, ..., c]; vectors [n, c] and tokens [n, t, c] as they are."""
    return x.movedim(1, -1) if x.ndim > 3 else x


def _rows(x: Tensor) -> Tensor:
    return _channels_last(x).flatten(0, -2)


def _gram(rows: Tensor) -> Tensor:
    """Return the smaller of A·Aᵀ and Aᵀ·A."""
    return rows @ rows.T if len(rows) < rows.shape[1] else rows.T @ rows


def _product(before: Tensor, after: Tensor) -> Tensor | None:
    """Return E[before·afterᵀ], up to transposition; None where places do not correspond."""
    large, small = (before, after) if _places(before).numel() >= _places(after).numel() else (after, before)
    if _places(large).numel() != _places(small).numel():
        if large.ndim != small.ndim or large.ndim < 4:
            return None
        if any(m < n for m, n in zip(_places(large), _places(small), strict=True)):
            return None
        large = _folded(large, _places(small))
    rows, others = _rows(large), _rows(small)
    return rows.T @ others / len(rows)


def _places(x: Tensor) -> torch.Size:
    return x.shape[2:] if x.ndim > 3 else x.shape[1:-1]


def _folded(maps: Tensor, places: Sequence[int]) -> Tensor:
    """Return maps [n, c, ...] with so many places only and the others as channels, [n, c·factor, *places]."""
    factors = [math.ceil(m / n) for m, n in zip(maps.shape[2:], places, strict=True)]
    missing = [n * by - m for m, n, by in zip(maps.shape[2:], places, factors, strict=True)]
    padded = functional.pad(maps, [each for size in reversed(missing) for each in (0, size)])
    pairs = [size for pair in zip(places, factors, strict=True) for size in pair]
    parted = padded.reshape(*maps.shape[:2], *pairs)
    return parted.permute(0, 1, *range(3, parted.ndim, 2), *range(2, parted.ndim, 2)).flatten(1, 1 + len(places))


def _eigenvalues(matrices: Sequence[Tensor], what: str) -> list[Tensor]:
    """Return the eigenvalues of symmetric matrices, each in ascending order."""
    found = dict[int, Tensor]()
    for size in {len(each) for each in matrices}:
        alike = [i for i, each in enumerate(matrices) if len(each) == size]
        stacked = torch.stack([matrices[i] for i in alike])
        if not stacked.isfinite().all():
            raise Unscorable(f"the {what} of blocks have to be finite, but at the start this network has others")
        found |= dict(zip(alike, torch.linalg.eigvalsh(stacked), strict=True))
    return [found[i] for i in range(len(matrices))]
