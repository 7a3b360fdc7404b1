"""Which expressions a deep network would not survive, found before anything is trained.

First a function is looked at by itself. Its slope is bounded everywhere, so that it grows linearly at most: x² turns
1e4 into 1e256 within six layers. For a standard normal z, E[f(z)²] and E[f'(z)²] are within bounds: He initialisation
multiplies the second moment of the activities of unit scale by 2·E[f²] a layer, and that of the gradients by 2·E[f'²].
ReLU has 1; with sigmoid the gradients fall to 0.09 a layer.

Then a stack of twelve such layers without any normalisation is followed, in the limit of many channels, where what
enters f is normal with a variance q: q becomes 2·E[f(√q·z)²], and the gradients are multiplied by 2·E[f'(√q·z)²].
This rejects x - tanh(x), which is fine at unit scale, but flat where the activities end up: at 0.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.text import show
from search_spaces.expressions.tree import Tree, X, evaluate, subtrees

NEAREST, FARTHEST, PER_SIDE = -6, 4, 1000
SMALLEST_DEVIATION, LARGEST_DEVIATION = 1e-3, 1e3
STEEPEST = 10.0
LEAST, MOST = 0.1, 3.0
HE, LAYERS = 2.0, 12
FADED, BLOWN_UP = 1e-9, 1e9


class Unstable(ValueError):
    """An expression that is rejected before training; the message says why in one line."""


def check(tree: Tree) -> None:
    """Raise Unstable when an expression is rejected."""
    weakness = instability(simplify(tree))
    if weakness is not None:
        raise Unstable(f"{show(tree)} is unstable: {weakness}")


@lru_cache(maxsize=4096)
def instability(tree: Tree) -> str | None:
    """Return why an expression is rejected, or None where it is not; learned numbers are where they start."""
    if X() not in subtrees(tree):
        return "it does not depend on x"
    points = _points()
    values, slopes = values_and_slopes(tree, points)
    if values.min() == values.max():
        return "it does not depend on x"
    for what, found in (("value", values), ("slope", slopes)):
        if not found.isfinite().all():
            place = int(found.isfinite().logical_not().nonzero()[0])
            return f"its {what} at x={points[place]:.3g} is {found[place]:g}"
    steepest = int(slopes.abs().argmax())
    if abs(slopes[steepest]) > STEEPEST:
        return f"its slope at x={points[steepest]:.3g} is {slopes[steepest]:.3g}, but at most ±{STEEPEST:g} is allowed"
    for what, moment in zip(("E[f²]", "E[f'²]"), _moments(values, slopes, 1.0), strict=True):
        if not LEAST <= moment <= MOST:
            return f"{what} of standard normal inputs is {moment:.3g}, but {LEAST:g} to {MOST:g} is allowed"
    growth = _gradient_growth(values, slopes)
    if not FADED <= growth <= BLOWN_UP:
        return f"{LAYERS} layers multiply squared gradients by {growth:.3g}, but {FADED:g} to {BLOWN_UP:g} is allowed"
    return None


def moments(tree: Tree, deviation: float = 1.0) -> tuple[float, float]:
    """Return E[f(z)²] and E[f'(z)²] for a normal z of mean 0 and a standard deviation from 1e-3 to 1e3."""
    return _moments(*values_and_slopes(tree, _points()), deviation)


def gradient_growth(tree: Tree) -> float:
    """Return by what a stack of twelve layers under He initialisation multiplies the squared gradient."""
    return _gradient_growth(*values_and_slopes(tree, _points()))


def values_and_slopes(tree: Tree, points: Tensor) -> tuple[Tensor, Tensor]:
    """Return f and f' at each of the points, for a tree that depends on x."""
    with torch.enable_grad():
        points = points.detach().requires_grad_()
        values = evaluate(tree, points)
        (slopes,) = torch.autograd.grad(values.sum(), points)
    return values.detach(), slopes


def _gradient_growth(values: Tensor, slopes: Tensor) -> float:
    deviation, growth = 1.0, 1.0
    for _ in range(LAYERS):
        value, slope = _moments(values, slopes, deviation)
        deviation = min(max((HE * value) ** 0.5, SMALLEST_DEVIATION), LARGEST_DEVIATION)
        growth *= HE * slope
    return growth


def _moments(values: Tensor, slopes: Tensor, deviation: float) -> tuple[float, float]:
    """Integrate over log|x|, in which the points are evenly spaced: dx = |x|·dlog|x|."""
    x = _points().double()
    weights = x.abs() * torch.exp(-(x / deviation).square() / 2)
    value, slope = torch.stack([values, slopes]).double().square() @ weights / weights.sum()
    return value.item(), slope.item()


@lru_cache(maxsize=1)
def _points() -> Tensor:
    sizes = torch.logspace(NEAREST, FARTHEST, PER_SIDE)
    return torch.cat([-sizes.flip(0), torch.zeros(1), sizes])
