"""L2 norm: how large are the weights? A baseline without samples, of Zero-Cost Proxies for Lightweight NAS's code.

    score = Σ_t ‖θ_t‖₂        θ_t the trainable parameter tensors

at initialisation. The official code takes the weights of convolutions and linear layers only; this one takes every
trainable tensor.
"""

from __future__ import annotations

import torch
from torch import nn

from predictors import Batch, Loss, predictor
from predictors.gradients import trainable


@predictor(paper="Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, 2021", cost="a pass over the weights")
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum the Euclidean norms of the tensors."""
    return sum(
        float(torch.linalg.vector_norm(each.detach(), dtype=torch.float64)) for each in trainable(network).values()
    )
