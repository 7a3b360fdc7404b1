"""Effective params: trainable weights on live paths from the input to the output, as a baseline beside all params.

    score = |{k : ∂out/∂θ_k ≠ 0, the gradient passing only through what depends on the input}|

A weight counts where a change of it changes an output by way of what came in. So what comes before or after a dead end
does not count, nor the bias or the norm's shift of a unit that no input reaches, nor what a mask holds at zero; border
weights of a kernel on maps of one place do not either. All kinds of weights count, be they of bases, rationals, norms
or attention, without regard to how much they do.

Gradients are those of a random sum of outputs, at 8 Gaussian inputs of the network with its own weights and norms, and
once more with absolute weights and inputs, where no ReLU is dead, and with affine norms, γ·x + β (see `flow`): a weight
counts that has one in either pass. A unit depends on the input where it differs among the samples; for the linear maps
that get them, constant ones are 0. Parameters that are zero as a whole, as many are at the start, are taken as 0.1:
only masks say that a weight is absent. The count errs on the small side where a function is flat at all these inputs,
or has pieces that none of them meets: local bases of fine grids, experts that no place is sent to.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.flow import absolute, without_masks, without_norms
from predictors.gradients import saved_bytes, trainable

SAMPLES, ABSOLUTE_SAMPLES = 8, 2
START = 0.1
ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-10}


@predictor(cost="a forward and a backward pass of 8 samples, and mostly of 2 more in float64")
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Count the weights that have a gradient in either pass."""
    masked = {parameter: parameter != 0 for parameter in without_masks(network)}
    parameters = list(trainable(network).values())
    with torch.no_grad():
        for each in parameters:
            if each not in masked and not each.any():
                each.fill_(START)
    used = [masked.get(each, torch.ones_like(each, dtype=torch.bool)) for each in parameters]
    inputs = torch.randn(SAMPLES, *batch.inputs.shape[1:], dtype=batch.inputs.dtype, device=batch.inputs.device)
    kept = SAMPLES * saved_bytes(network.eval(), batch, loss)
    network.train()
    reached = [torch.zeros_like(use) for use in used]
    for some in inputs.tensor_split(
        max(1, min(SAMPLES // 2, math.ceil(kept / batch.memory)))
    ):  # units differ among two
        reached = _either(reached, _reached(network, parameters, some))
    if not all(bool((live | ~use).all()) for live, use in zip(reached, used, strict=True)):
        network = without_norms(network).double().eval()
        absolute(network)
        reached = _either(reached, _reached(network, parameters, inputs[:ABSOLUTE_SAMPLES].double().abs()))
    return float(sum((live & use).sum() for live, use in zip(reached, used, strict=True)))


def _either(one: list[Tensor], other: list[Tensor]) -> list[Tensor]:
    return [here | there for here, there in zip(one, other, strict=True)]


def _reached(network: nn.Module, parameters: list[nn.Parameter], inputs: Tensor) -> list[Tensor]:
    """Say of each weight whether it has a gradient that is finite and not 0."""
    hooks = []
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):
            hooks.append(module.register_forward_pre_hook(_without_constants))
        if not isinstance(module, nn.Sequential):
            hooks.append(module.register_forward_hook(_live_only))
    outputs = network(inputs)
    for hook in hooks:
        hook.remove()
    if network.training and outputs.isnan().any():  # absolute weights may overflow
        raise Unscorable("its outputs are not numbers")
    if not outputs.requires_grad:
        return [torch.zeros_like(each, dtype=torch.bool) for each in parameters]
    noise = (outputs * torch.rand_like(outputs)).sum()
    slopes = torch.autograd.grad(noise, parameters, materialize_grads=True)
    return [slope.isfinite() & (slope != 0) for slope in slopes]


def _live_only(module: nn.Module, given: object, output: object) -> None:
    """Let no gradient pass back into constant units of an output [n, ...]."""
    if isinstance(output, Tensor) and output.requires_grad and output.ndim > 1:
        live = _live(output)
        if not live.all():
            output.register_hook(lambda slope: slope * live)  # type: ignore[no-untyped-call]


def _without_constants(module: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Make 0 of constant units that a linear map gets, so that their weights have no gradient."""
    if not given:
        raise Unscorable("a linear map of it is called by keyword, and what it gets cannot be followed")
    return (given[0] * _live(given[0]), *given[1:])


def _live(units: Tensor) -> Tensor:
    """Say of units [n, ...] which are not the same for all samples."""
    low, high = units.detach().aminmax(dim=0)
    return high - low > ROUNDING.get(low.dtype, ROUNDING[torch.float32]) * torch.maximum(high, -low)
