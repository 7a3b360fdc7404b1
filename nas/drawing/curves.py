"""The functions that an activation or a basis computes, as points to draw."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search_spaces.registry import Entry

Points = NDArray[np.float64]

REACH = {"activation": 4, "basis": 3}
STEPS_PER_UNIT = 100
CHANNELS, SIDE = 16, 8


class NoCurve(ValueError):
    """A component without functions to draw; the message says why in one line."""


@dataclass(frozen=True)
class Curves:
    """Functions and their slopes [count, points] at x [points], and what one must know to read them."""

    x: Points
    values: Points
    slopes: Points
    notes: tuple[str, ...] = ()


def curves(entry: Entry, module: nn.Module) -> Curves:
    """Evaluate an activation on [-4, 4] or a basis on [-3, 3], and differentiate it as training does.

    Of an activation the function is that of one input: channel 0 of 16 at one place of an 8x8 map. Where the others
    have a say, they hold fixed values from N(0, 1) and a note says so. Everything is in inference mode. Raises NoCurve
    where there is nothing to draw.
    """
    steps = REACH[entry.kind] * STEPS_PER_UNIT
    x = (torch.arange(-steps, steps + 1) / STEPS_PER_UNIT).requires_grad_()
    module.eval()
    try:
        values = _one_input(module, x)[None] if entry.kind == "activation" else module(x).T
        slopes = torch.stack([_slope(each, x) for each in values])
        mixes = entry.kind == "activation" and _mixes(module, x.detach(), values[0].detach())
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise NoCurve(f"it cannot be drawn as functions of one variable: {str(error).splitlines()[0]}") from error
    if not values.isfinite().any():
        raise NoCurve("its values are not finite")
    notes = []
    if mixes:
        notes.append("it mixes its inputs: this is channel 0 while all others hold fixed values from N(0, 1)")
    if any(parameter.requires_grad for parameter in module.parameters()):
        notes.append("before training, its parameters at their starting values")
    return Curves(_numbers(x), _numbers(values), _numbers(slopes), tuple(notes))


def _one_input(module: nn.Module, x: Tensor, seed: int = 0) -> Tensor:
    """Return what becomes of one input [points] among others that are fixed."""
    others = torch.randn(1, CHANNELS, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))
    inputs = others.repeat(len(x), 1, 1, 1)
    inputs[:, 0, 0, 0] = x
    outputs: Tensor = module(inputs)
    if outputs.shape != inputs.shape:
        raise ValueError(f"it makes {list(outputs.shape[1:])} of {list(inputs.shape[1:])}")
    return outputs[:, 0, 0, 0]


def _mixes(module: nn.Module, x: Tensor, values: Tensor) -> bool:
    with torch.no_grad():
        return not torch.allclose(values, _one_input(module, x, seed=1), rtol=1e-4, atol=1e-5, equal_nan=True)


def _slope(values: Tensor, x: Tensor) -> Tensor:
    if not values.requires_grad:
        return torch.zeros_like(x)
    (slope,) = torch.autograd.grad(values.sum(), x, retain_graph=True, allow_unused=True)
    return torch.zeros_like(x) if slope is None else slope


def _numbers(tensor: Tensor) -> Points:
    numbers: Any = tensor.detach().double().numpy()
    return np.asarray(numbers, dtype=np.float64)
