"""GraSP (Picking Winning Tickets Before Training by Preserving Gradient Flow): what keeps the gradient flowing?

    score = -Σ_k θ_k · (H g)_k        g = ∂L/∂θ and H = ∂²L/∂θ² over all trainable parameters, L the batch's mean loss

at initialisation, with the sign that Zero-Cost Proxies for Lightweight NAS (Abdelfattah et al., 2021) and NASLib give
it, whose accuracies grew with it. The outputs are not divided by a temperature, as there (GraSP itself divides by
200). The official code takes the weights of convolutions and linear layers only; this one takes every trainable
parameter. Batch normalisation uses the statistics of the batch, or of a chunk of it where the memory asks for chunks;
g is that of the whole batch. Networks with a layer that cannot be differentiated twice cannot be scored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from predictors import Batch, Loss, predictor
from predictors.gradients import batch_gradient, memory_chunks, second_order, trainable


@predictor(
    paper="Wang et al., Picking Winning Tickets Before Training by Preserving Gradient Flow, 2020",
    cost="three backward passes of the batch",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Multiply the Hessian with the gradient by a second differentiation; the Hessian is never held."""
    named = trainable(network)
    flow = batch_gradient(network, batch, loss)
    for chunk in memory_chunks(network, batch, loss, order=2):
        with sdpa_kernel(SDPBackend.MATH):
            gradient = second_order(loss(network(chunk.inputs), chunk.targets), named)
            along = torch.stack([_dot(*pair) for pair in zip(gradient, flow.values(), strict=True)]).sum()
            # Not torch.autograd.grad, which leaves out without a word what cannot be differentiated twice.
            torch.autograd.backward(along * len(chunk) / len(batch))
    return -sum(_dot(each.detach(), each.grad).item() for each in named.values() if each.grad is not None)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum(dtype=torch.float64)
