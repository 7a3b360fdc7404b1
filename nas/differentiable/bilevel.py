"""min_α L_val(w*(α), α) where w*(α) = argmin_w L_train(w, α): the problem at one step, and products with its Hessians.

The products are central differences along a direction v in the weights, with ε = 0.01/‖v‖ (DARTS, section 2.3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

REACH = 0.01


@dataclass(frozen=True)
class Problem:
    """The two losses on the batches of a step, as functions of the parameters' present values, and the next SGD step.

    `velocity` has the momentum buffers of the weights. Called twice at the same values, a loss is the same twice.
    """

    weights: Sequence[nn.Parameter]
    strengths: Sequence[nn.Parameter]
    train: Callable[[], Tensor]
    validation: Callable[[], Tensor]
    rate: float
    momentum: float
    decay: float
    velocity: Sequence[Tensor]


Gradient = Callable[[Problem], list[Tensor]]


def slopes(loss: Tensor, parameters: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return the gradients of a loss, zeros for parameters that it does not depend on."""
    found = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    return [torch.zeros_like(p) if slope is None else slope for p, slope in zip(parameters, found, strict=True)]


@contextmanager
def moved(parameters: Sequence[nn.Parameter], direction: Sequence[Tensor], scale: float) -> Iterator[None]:
    """Move parameters by scale·direction inside, and put them back exactly at the end."""
    before = [p.detach().clone() for p in parameters]
    with torch.no_grad():
        for p, step in zip(parameters, direction, strict=True):
            p.add_(step, alpha=scale)
    try:
        yield
    finally:
        with torch.no_grad():
            for p, value in zip(parameters, before, strict=True):
                p.copy_(value)


def hessian_product(problem: Problem, vector: Sequence[Tensor], of: Sequence[nn.Parameter]) -> list[Tensor]:
    """Return ∇²_{of,w} L_train · vector, the vector in the shapes of the weights; zeros for a vector of 0."""
    norm = torch.stack([part.double().square().sum() for part in vector]).sum().sqrt().item()
    if norm == 0:
        return [torch.zeros_like(p) for p in of]
    reach = REACH / norm
    with moved(problem.weights, vector, reach):
        above = slopes(problem.train(), of)
    with moved(problem.weights, vector, -reach):
        below = slopes(problem.train(), of)
    return [(a - b) / (2 * reach) for a, b in zip(above, below, strict=True)]
