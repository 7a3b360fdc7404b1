"""Zen score (Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition): how far do features move with the input?

    score = log E ‖F(x) - F(x + 0.01·z)‖₁ + Σ_norms log √(mean σ² + ε)        x, z, and weights from N(0, 1)

F is the feature map before the head, and σ² are the variances that a norm divides by, with its ε, whose logarithms
give back what it takes away of the scale. As in the official code the weights of convolutions and linear maps are
drawn anew from N(0, 1), here those of KAN layers made of these too, with biases 0, and the norms' scales 1 and shifts
0; other parameters stay. One draw is taken. Without norms features grow with every layer: what is beyond float32 is
worked out in float64, and what is beyond that cannot be scored.

Unlike in the official code, all of torch's norms count, not those over the batch alone, with the batch's own
variances in place of their moving averages; x and x + 0.01·z pass in one batch, so that they share its statistics
(those of a chunk, where the memory asks for chunks) and what a layer draws at random; and F is found by itself: the
last map of more than one place, or else vector, that an innermost module (see `regions`) is called with. It is the
map that the pool of the head gets, or for a network of vectors what the last layer gets.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.flow import NORMS
from predictors.gradients import saved_bytes
from predictors.regions import watch

PERTURBATION = 0.01


@predictor(
    paper="Lin et al., Zen-NAS: A Zero-Shot NAS for High-Performance Image Recognition, 2021",
    cost="a forward pass of twice the batch",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Draw weights and inputs of the batch's shape, and follow the features."""
    draw_weights(network)
    sample_bytes = 2 * saved_bytes(network.eval(), batch, loss)
    network.train()
    found = _score(network, batch, sample_bytes)
    if not math.isfinite(found):
        found = _score(network.double(), batch, 2 * sample_bytes)
    return found


def _score(network: nn.Module, batch: Batch, sample_bytes: int) -> float:
    dtype = next((each.dtype for each in network.parameters()), batch.inputs.dtype)
    inputs = torch.randn(batch.inputs.shape, dtype=dtype, device=batch.inputs.device)
    noise = PERTURBATION * torch.randn_like(inputs)
    moved = logs = 0.0
    for chunk in Batch(inputs, noise, batch.seed, batch.memory).chunks(sample_bytes, least=2):
        features, deviations = _follow(network, torch.cat([chunk.inputs, chunk.inputs + chunk.targets]))
        one, other = features.flatten(1).double().chunk(2)
        moved += (one - other).abs().sum().item() / len(batch)
        logs += deviations * len(chunk) / len(batch)
    if moved == 0:
        raise Unscorable("its features do not depend on its input")
    return math.log(moved) + logs


@torch.no_grad()
def draw_weights(network: nn.Module) -> None:
    """Draw the weights of convolutions and linear maps from N(0, 1); biases become 0, norms the identity's."""
    for module in network.modules():
        linear = isinstance(module, nn.Linear | nn.modules.conv._ConvNd)
        if not linear and not isinstance(module, NORMS):
            continue
        for name, parameter in module.named_parameters():  # masks stand between parameter and weight
            kind = name.split(".")[-2 if name.endswith("original") else -1]
            if kind == "bias":
                parameter.zero_()
            elif linear:
                parameter.normal_()
            else:
                parameter.fill_(1.0)


def variances(norm: nn.Module, x: Tensor) -> Tensor:
    """Return what a norm of an input [n, channels, ...] divides by, squared and without ε, for all it takes apart."""
    if isinstance(norm, nn.RMSNorm):
        return x.square().mean(tuple(range(-len(norm.normalized_shape), 0)))
    if isinstance(norm, nn.LayerNorm):
        return x.var(tuple(range(-len(norm.normalized_shape), 0)), correction=0)
    if isinstance(norm, nn.GroupNorm):
        return torch.unflatten(x, 1, (norm.num_groups, -1)).flatten(2).var(2, correction=0)
    if isinstance(norm, nn.modules.instancenorm._InstanceNorm):
        return x.flatten(2).var(2, correction=0)
    return x.var((0, *range(2, x.ndim)), correction=0)


def _log_deviation(norm: nn.Module, x: Tensor) -> float:
    eps = getattr(norm, "eps", None) or torch.finfo(x.dtype).eps
    return math.log(variances(norm, x.double()).mean().item() + eps) / 2


def _follow(network: nn.Module, inputs: Tensor) -> tuple[Tensor, float]:
    """Return the features [n, ...] of inputs and the sum of the norms' log deviations."""
    maps: list[Tensor] = []
    vectors: list[Tensor] = []
    logs: list[float] = []

    def seen(module: nn.Module, x: Tensor) -> None:
        (maps if x.ndim > 2 and x[0, 0].numel() > 1 else vectors)[:] = [x]
        if isinstance(module, NORMS):
            logs.append(_log_deviation(module, x))

    watch(network, inputs, seen)
    (features,) = maps or vectors
    return features, sum(logs)
