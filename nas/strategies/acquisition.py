"""How much a candidate is expected to improve on what is known, where its losses are independent normal variables.

Expected hypervolume improvement, of which expected improvement is the case of one objective (Jones et al., 1998;
Emmerich et al., 2006). The volume a point would add is cut into slices along the last objective, between one point of
the front and the next; in a slice the other objectives have a front of their own, so that

    EHVI_m = sum over slices of (psi_m(upper end) - psi_m(lower end)) * EHVI_(m-1)(front of the slice)
    psi(c) = E max(0, c - Y)

and the last one left is psi itself. Exact for any number of objectives; the cost grows by the front's size with each.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nas import pareto

Array = NDArray[np.float64]

MARGIN = 0.1


def expected_improvement(means: Array, spreads: Array, known: Array, reference: Array) -> Array:
    """Return the expected gain in hypervolume of each candidate alone, [candidates].

    Means and standard deviations are [candidates, objectives], the known losses [points, objectives], all to be
    minimised. `reference` [objectives] bounds the volume; what is worse than it counts nothing.
    """
    inside = known[(known < reference).all(axis=1)]
    return _gain(means, spreads, inside, reference)


def reference_point(known: Array) -> Array:
    """Return the worst known loss of each objective and a tenth of its range more, or 0.1 where it has no range.

    Of all points, not of the front alone: a front that lacks an end would never be extended there.
    """
    span = np.ptp(known, axis=0)
    reference: Array = known.max(axis=0) + MARGIN * np.where(span > 0, span, 1.0)
    return reference


def _gain(means: Array, spreads: Array, known: Array, reference: Array) -> Array:
    if means.shape[1] == 1:
        return _below(means[:, 0], spreads[:, 0], min(known[:, 0], default=reference[0]))
    ordered = known[pareto.front(known)]
    ordered = ordered[np.argsort(ordered[:, -1], kind="stable")]
    shares = [_below(means[:, -1], spreads[:, -1], end) for end in (*ordered[:, -1], reference[-1])]
    gain, lower = np.zeros(len(means)), np.zeros(len(means))
    for count, upper in enumerate(shares):
        gain += (upper - lower) * _gain(means[:, :-1], spreads[:, :-1], ordered[:count, :-1], reference[:-1])
        lower = upper
    return gain


def _below(means: Array, spreads: Array, bound: float) -> Array:
    """Return E max(0, bound - Y)."""
    from scipy.special import ndtr

    gap = bound - means
    with np.errstate(divide="ignore", invalid="ignore"):
        score = np.where(spreads > 0, gap / spreads, 0.0)
    density = np.exp(-0.5 * score**2) / math.sqrt(2 * math.pi)
    below: Array = np.where(spreads > 0, gap * ndtr(score) + spreads * density, np.maximum(gap, 0.0))
    return below
