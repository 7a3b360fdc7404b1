"""New blocks of a plain wiring that hand on what they are given: f(a·x + b) = x for x = f(u), as near as it can be.

The layer is the identity, by a Dirac kernel, or for functions of a basis by least squares; the norm makes a·x + b of
it, and the activation, fitted to the identity where it can be trained, comes after. What x looks like follows from the
scale and shift of the norm before. Exact with linear, conv2d, depthwise_separable and relu, helu, identity, sorting,
and what can be trained to be the identity (prelu, matrix_relu, product_gate); near with smooth activations and with KAN
layers on their grid; group and layer normalisation add what their statistics vary by. Not at all with attention,
ckconv, mbconv, wavemix, pooling, mixtures and bottlenecks.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from functools import singledispatch

import numpy as np
import torch
from torch import Tensor, nn

from nas.training.inheritance.activations import fit_alike
from nas.training.inheritance.masks import read, write
from nas.training.inheritance.resting import last
from nas.training.inheritance.statistics import Statistics, after, has_scale, set_line
from search_spaces.activations.fitting import mixes
from search_spaces.activations.rational import Rational, starting
from search_spaces.activations.recurrent_rational import RecurrentRational
from search_spaces.layers.kan import KanConv2d

TOLERANCE = 0.1  # of the variance
RIDGE = 1e-6
EXACT = 1e-20


@dataclass(frozen=True)
class _Line:
    """An activation f, the a and b for which f(a·x + b) is nearest to x, and the share of the variance it misses."""

    missed: float
    activation: nn.Module
    scale: float = 1.0
    shift: float = 0.0


@torch.no_grad()
def become_identity(body: nn.Sequential, before: nn.Sequential, channels: int) -> float | None:
    """Let a layer, a norm and an activation in a row hand on what comes from the ones before, which are their like.

    Returns the error as a share of the variance. Where that is above TOLERANCE, or None as the layer has no such
    weights or all that comes is the same, the body is left as it was.
    """
    layer, norm, activation = body
    x = _outputs(before, channels)
    if not float(x.var(0).mean()) > 0:
        return None
    trial = deepcopy(layer)
    missed = identify(trial, x)
    if missed is None:
        return None
    found = _nearest(activation, before[-1], x, channels)
    if missed + found.missed > TOLERANCE:
        return missed + found.missed
    layer.load_state_dict(trial.state_dict())
    activation.load_state_dict(found.activation.state_dict())
    if has_scale(norm):
        set_line(norm, Statistics.of(x), found.scale, found.shift)
    else:
        for linear in last(layer):
            write(linear, "weight", read(linear, "weight") * found.scale)
            write(linear, "bias", read(linear, "bias") * found.scale + found.shift)
    return missed + found.missed


def _outputs(before: nn.Sequential, channels: int) -> Tensor:
    """Return a sample [samples, channels, 1, 1] of what a layer, a norm and an activation give."""
    known = after(before[0], before[1]) or Statistics.normal(channels)
    outputs: Tensor = deepcopy(before[-1]).eval()(known.sample())
    return outputs


def _nearest(activation: nn.Module, before: nn.Module, x: Tensor, channels: int) -> _Line:
    """Return the nearest to the identity of the activation before, the new one as it is, and the new one fitted."""
    found = [_lined(deepcopy(before), x)]
    trainable = any(True for _ in activation.parameters()) and not isinstance(activation, RecurrentRational)
    if trainable and found[0].missed > EXACT:
        found.append(_lined(deepcopy(activation), x))
        if not mixes(activation, channels):
            found += [_lined(_fitted(activation, target), x) for target in (torch.clone, torch.relu)]
    return min(found, key=lambda line: line.missed)


def _fitted(activation: nn.Module, target: Callable[[Tensor], Tensor]) -> nn.Module:
    fitted = deepcopy(activation)
    with torch.enable_grad():
        fit_alike(fitted, target)
    return fitted


def _lined(activation: nn.Module, x: Tensor) -> _Line:
    from scipy.optimize import least_squares

    activation.eval()
    variance = float(x.var(0).mean())

    def error(line: np.ndarray) -> np.ndarray:
        missed: np.ndarray = (activation(x * line[0] + line[1]) - x).flatten().numpy()
        return missed

    def share(line: np.ndarray) -> float:
        return float(np.square(error(line)).mean()) / variance

    start = np.array([1.0, 0.0])
    if share(start) <= EXACT:
        return _Line(share(start), activation)
    best = least_squares(error, start, bounds=([0.2, -5.0], [5.0, 5.0]), max_nfev=30).x
    return _Line(share(best), activation, float(best[0]), float(best[1]))


@singledispatch
def identify(layer: nn.Module, x: Tensor) -> float | None:
    """Let a layer hand on its input, and return the error for inputs like x as a share of their variance.

    None for a layer that has no such weights. Packages that add layers say theirs with `identify.register`.
    """
    return None


@identify.register
def _(layer: nn.Conv2d, x: Tensor) -> float | None:
    if layer.in_channels != layer.out_channels or layer.groups not in (1, layer.in_channels):
        return None
    weight = nn.init.dirac_(torch.empty_like(read(layer, "weight")), layer.groups)
    return _set(layer, weight)


@identify.register
def _(layer: nn.Sequential, x: Tensor) -> float | None:
    missed = [identify(part, x) for part in layer]
    known = [part for part in missed if part is not None]
    return sum(known) if len(known) == len(missed) else None


@identify.register
def _(layer: Rational, x: Tensor) -> float | None:
    for parameter, values in zip((layer.numerator, layer.denominator), starting("identity"), strict=True):
        parameter.copy_(torch.tensor(values).expand_as(parameter))
    return float((layer(x) - x).square().mean() / x.var(0).mean())


@identify.register
def _(layer: KanConv2d, x: Tensor) -> float | None:
    convolution = layer.convolution
    if convolution.out_channels * layer.expansion.count != convolution.in_channels:
        return None
    functions = layer.expansion(x.flatten(), -1)
    penalty = RIDGE * len(functions) * torch.eye(functions.shape[1], dtype=functions.dtype)
    factors = torch.linalg.solve(functions.mT @ functions + penalty, functions.mT @ x.flatten())
    dirac = nn.init.dirac_(torch.empty_like(read(convolution, "weight")[:, : convolution.out_channels]))
    weight = torch.cat([factor * dirac for factor in factors], 1)
    kept = _set(convolution, weight)
    return kept + float((functions @ factors - x.flatten()).square().mean() / x.var(0).mean())


def _set(layer: nn.Conv2d, weight: Tensor) -> float:
    """Set weights and no bias, and return the share of their squares that a mask leaves out."""
    write(layer, "weight", weight)
    write(layer, "bias", torch.zeros(layer.out_channels, dtype=weight.dtype))
    lost = weight - read(layer, "weight")
    return float(lost.square().sum() / weight.square().sum())
