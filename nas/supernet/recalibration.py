"""The running statistics of norms, which no two subnetworks share: computed anew from training samples."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from nas.supernet.bank import Supernet
from nas.training.loop import validate
from search_spaces.decisions import Architecture

SAMPLES = 512
BATCH = 128


@torch.no_grad()
def recalibrate(network: nn.Module, inputs: Tensor, batch: int = BATCH) -> nn.Module:
    """Set running statistics to the averages over batches of some training inputs, and return the network in eval mode.

    Inputs [samples, channels, height, width] go through in batches of equal size; a smaller rest is left out. As in
    training each batch is normalised by its own statistics on the way; dropout and the like are off. The averages are
    those of the batches' means and unbiased variances (biased in EvoNorm-B0), as torch keeps them.
    """
    size = min(batch, len(inputs))
    norms = _norms(network.eval())
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
    for step in range(len(inputs) // size if norms else 0):
        for norm in norms:
            norm.momentum = 1 / (step + 1)
        network(inputs[step * size : (step + 1) * size])
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    return network.eval()


def inherit(supernet: Supernet, architecture: Architecture, samples: int = SAMPLES) -> nn.Module:
    """Return a subnetwork as a network of its own, recalibrated on the first of the training samples."""
    inputs = supernet.task.train()[0][:samples].to(supernet.device)
    return recalibrate(supernet.extract(architecture), inputs)


def judge(supernet: Supernet, architecture: Architecture, samples: int = SAMPLES) -> tuple[float, float]:
    """Return the validation loss in nats and accuracy that a subnetwork has with its inherited weights."""
    inputs, targets = (part.to(supernet.device) for part in supernet.task.validation())
    return validate(inherit(supernet, architecture, samples), (inputs, targets))


def _norms(network: nn.Module) -> list[Any]:
    """List the modules with running statistics that a momentum updates."""
    return [m for m in network.modules() if hasattr(m, "running_var") and hasattr(m, "momentum")]
