"""Synflow (Pruning neural networks without any data by iteratively conserving synaptic flow), as a score of networks.

    R = 1ᵀ·out(1; |θ|)      score = log(1 + Σ_k |θ_k·∂R/∂θ_k|)

`flow` says what R is: no samples and no labels are used, only the shape of an input. The sum is that of Zero-Cost
Proxies for Lightweight NAS; the logarithm keeps it within reach of floating point and the order as it is. Their code
sums over the weights of convolutions and linear layers, this one over every trainable parameter.
"""

from __future__ import annotations

import torch
from torch import nn

from predictors import Batch, Loss, predictor
from predictors.flow import flow_network
from predictors.gradients import trainable


@predictor(
    paper="Tanaka et al., Pruning neural networks without any data by iteratively conserving synaptic flow, 2020; "
    "Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, 2021",
    cost="a forward and a backward pass of one sample in float64",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum the flow through each parameter."""
    network = flow_network(network)
    parameters = list(trainable(network).values())
    flow = network(torch.ones_like(batch.inputs[:1], dtype=torch.float64)).sum()
    slopes = torch.autograd.grad(flow, parameters, materialize_grads=True)
    flows = [(each.detach() * slope).abs().sum() for each, slope in zip(parameters, slopes, strict=True)]
    return torch.stack(flows).sum().log1p().item()
