"""GradSign as its authors' code works it out, to be timed beside ours.

A Python loop of passes of one sample each, batch normalisation in training mode; the gradients of the weights of
convolutions and linear layers alone, as a matrix of samples by parameters in NumPy; then Σ_k |Σ_i sign g_ik|. This is
our own writing of that procedure. Where only those weights are trainable, the score is that of `predictors.gradsign`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from predictors import Loss


def official_score(network: nn.Module, inputs: Tensor, targets: Tensor, loss: Loss) -> float:
    """Score a network on samples [n, ...] with targets [n, ...].

    The network is left in training mode, with gradients and with other running statistics.
    """
    network.train()
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    rows = []
    for i in range(len(inputs)):
        network.zero_grad()
        torch.autograd.backward(loss(network(inputs[i : i + 1]), targets[i : i + 1]))
        gradients = [layer.weight.grad for layer in layers if layer.weight.grad is not None]
        rows.append(np.concatenate([gradient.flatten().cpu().numpy() for gradient in gradients]))
    signs = np.sign(np.stack(rows))  # [n, parameters]
    return float(np.abs(signs.sum(0)).sum())
