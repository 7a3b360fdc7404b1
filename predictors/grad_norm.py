"""Gradient norm (Zero-Cost Proxies for Lightweight NAS): how long is the gradient of one batch?

    score = Σ_t ‖∂L/∂θ_t‖₂        θ_t the parameter tensors, L the mean loss of the batch

at initialisation. The norms are those of single tensors, a weight or a bias each, as in the official code, and not
that of all parameters at once. The official code takes the weights of convolutions and linear layers only; this one
takes every trainable tensor. Batch normalisation uses the statistics of the batch, or of a chunk of it where the
memory asks for chunks.
"""

from __future__ import annotations

import torch
from torch import nn

from predictors import Batch, Loss, predictor
from predictors.gradients import batch_gradient


@predictor(
    paper="Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, 2021",
    cost="a backward pass of the batch",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum the Euclidean norms of the gradient's tensors."""
    gradients = batch_gradient(network, batch, loss).values()
    return sum(float(torch.linalg.vector_norm(each, dtype=torch.float64)) for each in gradients)
