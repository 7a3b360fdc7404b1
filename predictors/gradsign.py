"""GradSign (Model Performance Inference with Theoretical Insights): do the samples' gradients agree in sign?

    score = Σ_k |Σ_i sign(∂loss_i/∂θ_k)|        θ_k over all trainable parameters, i over the samples

at initialisation; higher is better. The signs are summed as they come, a chunk of samples at a time, and the
matrix of samples by parameters is never held. Each sample passes alone, as in the official code: batch normalisation
uses the statistics of that one sample. The official code takes the weights of convolutions and linear layers only;
this one takes every trainable parameter, as the paper's sum does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, predictor
from predictors.gradients import sample_gradients


@predictor(
    paper="Zhang and Jia, GradSign: Model Performance Inference with Theoretical Insights, 2022",
    cost="a backward pass for each sample",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum over all parameters the absolute sums of the samples' signs."""
    votes: dict[str, Tensor] = {}
    for _, gradients in sample_gradients(network, batch, loss):
        for name, gradient in gradients.items():
            signs = gradient.sign().sum(0)  # whole numbers, exact in float32
            votes[name] = votes[name].add_(signs) if name in votes else signs
    return sum(vote.abs().sum(dtype=torch.float64).item() for vote in votes.values())
