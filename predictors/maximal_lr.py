"""Maximal learning rate: how large a step of gradient descent may be that still lowers the loss.

    score = the largest η_0·2^k, k = -14 ... 10, so that L(θ - η·∇L(θ)) < L(θ) for it and all smaller ones,
            then halved in log scale between it and the next, down to a factor of 2^(1/64)

at initialisation, by all trainable parameters, where η_0 = L(θ)/|∇L(θ)|², the rate at which a linear loss would come to
0; higher is better. For a quadratic loss with curvature λ along the gradient it is 2/λ. A network whose loss falls at
all these rates has the largest, and one whose loss falls at none cannot be scored.

The paper's maximal initial learning rate is the largest at which training reaches a given accuracy within some epochs,
found by bisection; this one asks for the first step alone, which needs a backward pass and some 25 forward passes of
the batch. It is in training mode, so batch normalisation uses the statistics of the batch. Where the batch takes more
than its memory it goes in chunks, with the statistics of the chunk; without batch normalisation the score is the same.
The loss is a mean over samples.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.gradients import batch_gradient, memory_chunks, trainable

LEAST, MOST = -14, 10
HALVINGS = 6


@predictor(
    paper="Iyer et al., Maximal Initial Learning Rates in Deep ReLU Networks, 2023",
    cost="a backward and some 25 forward passes of the batch",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Double the rate until the loss does not fall, and search between the last two."""
    named = trainable(network)
    chunks = list(memory_chunks(network, batch, loss))
    gradient = batch_gradient(network, batch, loss)
    start = {name: each.detach().clone() for name, each in named.items()}
    squared = math.fsum(each.double().square().sum().item() for each in gradient.values())

    def loss_after(rate: float) -> float:
        with torch.no_grad():
            for name, each in named.items():
                each.copy_(start[name] - rate * gradient[name])
            values = [loss(network(chunk.inputs), chunk.targets).item() * len(chunk) for chunk in chunks]
        return math.fsum(values) / len(batch)

    before = loss_after(0.0)
    if not math.isfinite(before) or not math.isfinite(squared):
        raise Unscorable("its loss and gradient have to be finite, but are not at the start")
    if before <= 0 or squared == 0:
        raise Unscorable(f"no step lowers its loss, which is {before:.3g} with a gradient of norm {squared**0.5:.3g}")
    # In powers of 2 of the rate that brings a linear loss to 0.
    low, high = float(LEAST - 1), float(MOST)
    for power in range(LEAST, MOST + 1):
        if not loss_after(before / squared * 2.0**power) < before:
            high = float(power)
            break
        low = float(power)
    if low < LEAST:
        raise Unscorable(f"not even a step at the rate of {before / squared * 2.0**LEAST:.3g} lowers its loss")
    for _ in range(HALVINGS if low < high else 0):
        middle = (low + high) / 2
        if loss_after(before / squared * 2.0**middle) < before:
            low = middle
        else:
            high = middle
    return float(before / squared * 2.0**low)
