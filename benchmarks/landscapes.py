"""A made-up search problem whose answers cost nothing: a tree like `kan_vision`, smaller, and what it is worth.

It has what makes such trees hard for samplers: decisions that exist under one option only, the same decision in
several stages, a best value that depends on another decision, and two objectives that pull apart.
"""

from __future__ import annotations

from itertools import pairwise
from math import log2, log10
from typing import Any

from search_spaces.decisions import Architecture, Choice, Integer, Real, Repeat, Struct
from search_spaces.space import Space

STAGE = Struct(
    width=Integer(8, 64, step=8),
    layer=Choice(
        "conv",
        depthwise=Struct(kernel=Choice(3, 5)),
        kan=Struct(
            basis=Choice(
                bspline=Struct(intervals=Integer(3, 8), order=Integer(2, 3)),
                rbf=Struct(centres=Integer(4, 8)),
                chebyshev=Struct(degree=Integer(2, 5)),
            )
        ),
    ),
    norm=Choice("none", "batch", "layer", "group"),
    activation=Choice("relu", "silu", helu=Struct(alpha=Real(0.01, 0.2))),
)
TRAINING = Struct(
    optimizer=Choice(
        adamw=Struct(rate=Real(5e-4, 3e-2, log=True), decay=Real(1e-5, 1e-1, log=True)),
        sgd=Struct(rate=Real(1e-2, 5e-1, log=True), momentum=Real(0.7, 0.98)),
    ),
    batch=Choice(32, 64, 128),
    augmentation=Choice("none", mixup=Struct(alpha=Real(0.1, 1.0))),
)
SPACE_TREE = Struct(stages=Repeat(STAGE, 1, 4), training=TRAINING)
WORST = (3.0, 7.0)

_LAYER = {"conv": 0.25, "depthwise": 0.35, "kan": 0.1}
_NORM = {"none": 0.3, "batch": 0.0, "layer": 0.1, "group": 0.05}
_NORM_OF_KAN = {"none": 0.4, "batch": 0.3, "layer": 0.0, "group": 0.1}
_BASIS = {"bspline": 0.1, "rbf": 0.0, "chebyshev": 0.2}


def landscape() -> Space:
    """Return the space; no network can be made of it."""
    return Space("landscape", "made-up answers", SPACE_TREE, _unbuildable)


def error(architecture: Architecture) -> float:
    """Return a loss in about [0, 3], to be minimised."""
    stages, training = architecture["stages"], architecture["training"]
    widths = [16, *(stage["width"] for stage in stages)]
    growth = [abs(log2(after / before) - 0.5) for before, after in pairwise(widths)]
    shape: float = 0.15 * sum(growth) / len(growth) + 0.15 * abs(len(stages) - 3) + 6 / sum(widths)
    return shape + sum(map(_stage, stages)) / len(stages) + _training(training, len(stages))


def cost(architecture: Architecture) -> float:
    """Return the decimal logarithm of a number of weights, in about [2.5, 6], to be minimised."""
    before, weights = 16, 0.0
    for stage in architecture["stages"]:
        kind, inner = _option(stage["layer"])
        width = stage["width"]
        terms = {"conv": 9.0 * before, "depthwise": before + 9.0, "kan": 9.0 * before}
        weights += width * terms[kind] * (1 + _bases(inner) if kind == "kan" else 1)
        before = width
    return log10(weights)


def _stage(stage: Architecture) -> float:
    kind, inner = _option(stage["layer"])
    activation, alpha = _option(stage["activation"])
    loss: float = _LAYER[kind]
    if kind == "kan":
        basis, _ = _option(inner["basis"])
        loss += _BASIS[basis] + 0.05 * abs(_bases(inner) - 6) + _NORM_OF_KAN[stage["norm"]]
    else:
        loss += _NORM[stage["norm"]] + (0.1 if kind == "depthwise" and inner["kernel"] == 3 else 0.0)
    if activation == "helu":
        best = 0.15 if stage["norm"] == "layer" else 0.05
        return loss + 4 * abs(float(alpha["alpha"]) - best)
    return loss + (0.15 if activation == "relu" else 0.1)


def _training(training: Architecture, depth: int) -> float:
    name, inner = _option(training["optimizer"])
    doublings = log2(training["batch"] / 64)
    if name == "adamw":
        far = log10(inner["rate"]) + 2.6 - 0.3 * doublings
        loss: float = far**2 + 0.05 * abs(log10(inner["decay"]) + 2 + far)
    else:
        far = log10(inner["rate"] / (1 - inner["momentum"])) - 0.15 * doublings
        loss = 0.05 + 0.8 * far**2 + 2 * abs(inner["momentum"] - 0.9)
    augmentation, mixup = _option(training["augmentation"])
    if augmentation != "mixup":
        return loss + 0.1
    alpha = float(mixup["alpha"])
    return loss + (0.3 * abs(alpha - 0.3) if depth >= 3 else 0.2 * alpha + 0.1)


def _bases(inner: Any) -> int:
    _, fine = _option(inner["basis"])
    return sum(fine.values())


def _option(decided: Any) -> tuple[str, Any]:
    """Split a decided Choice into its option and that option's inner decisions."""
    if isinstance(decided, dict):
        name, inner = next(iter(decided.items()))
        return str(name), inner
    return str(decided), None


def _unbuildable(architecture: Architecture, signature: object) -> Any:
    raise NotImplementedError("a landscape has no networks")
