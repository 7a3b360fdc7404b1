"""ZiCo (Zero-Shot NAS via Inverse Coefficient of Variation on Gradients): do minibatches' gradients keep their size?

    score = Σ_t log Σ_{k in t} E_b |g_bk| / √Var_b g_bk        g_b = ∂L_b/∂θ, L_b the mean loss of minibatch b

at initialisation; t over the trainable parameter tensors. The batch is split in order into two minibatches, the
fewest that have a variance, so the order of samples matters. As in the official code the variance is divided by the
number of minibatches, parameters without variance are skipped, and so are tensors of which nothing is left. The
official code takes the weights of convolutions and linear layers only; this one takes every trainable tensor. The
official code also adds the gradients of earlier minibatches to those of later ones; here each has its own, as in the
paper. Batch normalisation uses the statistics of the minibatch, or of a chunk of it where the memory asks for chunks.
"""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.gradients import batch_gradient

MINIBATCHES = 2


@predictor(
    paper="Li et al., ZiCo: Zero-shot NAS via Inverse Coefficient of Variation on Gradients, 2023",
    cost="a backward pass of each of two halves of the batch",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum the logarithms of the tensors' inverse coefficients of variation."""
    if len(batch) < MINIBATCHES:
        raise Unscorable(f"it takes {MINIBATCHES} samples or more, and the batch has {len(batch)}")
    parts = zip(batch.inputs.tensor_split(MINIBATCHES), batch.targets.tensor_split(MINIBATCHES), strict=True)
    gradients = [batch_gradient(network, replace(batch, inputs=x, targets=y), loss) for x, y in parts]
    sums = (_steadiness(torch.stack([each[name] for each in gradients])) for name in gradients[0])
    return sum(math.log(each) for each in sums if each != 0)


def _steadiness(gradients: Tensor) -> float:
    """Sum E|g|/√Var g over the parameters of a tensor with any variance; gradients are [minibatches, ...]."""
    gradients = gradients.double()
    deviation = gradients.std(0, correction=0)
    varying = deviation != 0
    return float((gradients.abs().mean(0)[varying] / deviation[varying]).sum().item())
