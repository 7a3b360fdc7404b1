"""SNIP (Single-shot Network Pruning based on Connection Sensitivity): what would the removal of each weight change?

    score = Σ_k |θ_k · ∂L/∂θ_k|        θ_k over all trainable parameters, L the mean loss of the batch

at initialisation, the sum of what SNIP prunes by, as in Zero-Cost Proxies for Lightweight NAS (Abdelfattah et al.,
2021). The official code takes the weights of convolutions and linear layers only; this one takes every trainable
parameter, of which those that start at zero add nothing. Batch normalisation uses the statistics of the batch, or of
a chunk of it where the memory asks for chunks.
"""

from __future__ import annotations

import torch
from torch import nn

from predictors import Batch, Loss, predictor
from predictors.gradients import batch_gradient, trainable


@predictor(
    paper="Lee, Ajanthan and Torr, SNIP: Single-shot Network Pruning based on Connection Sensitivity, 2019",
    cost="a backward pass of the batch",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum the connection sensitivities."""
    gradients, named = batch_gradient(network, batch, loss), trainable(network)
    return sum((each.detach() * gradients[name]).abs().sum(dtype=torch.float64).item() for name, each in named.items())
