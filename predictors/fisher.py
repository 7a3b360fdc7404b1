"""Fisher information: how strongly do single samples pull at the parameters?

    score = Σ_k 1/n Σ_i (∂loss_i/∂θ_k)²        θ_k over all trainable parameters, i over the n samples

at initialisation: the trace of the empirical Fisher information matrix. The official score of Zero-Cost Proxies for
Lightweight NAS (Abdelfattah et al., 2021), after Faster Gaze Prediction with Dense Networks and Fisher Pruning
(Theis et al., 2018), is that of gates on the channels of convolutions and linear layers, ½ 1/n Σ_i (Σ a_i · ∂L/∂a_i)²
of a channel's activations a. Other layers need not have channels, and what acts on parameters outside of these layers
would go unseen; the information about the parameters themselves is defined for every layer, so it is the one taken
here. Figures published for the official score do not carry over. Each sample passes alone: batch normalisation uses
the statistics of that one sample.
"""

from __future__ import annotations

import torch
from torch import nn

from predictors import Batch, Loss, predictor
from predictors.gradients import sample_gradients


@predictor(
    paper="Abdelfattah et al., Zero-Cost Proxies for Lightweight NAS, 2021",
    cost="a backward pass for each sample",
    labels=True,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum the squared gradients of single samples and divide by the number of samples."""
    squares = 0.0
    for _, gradients in sample_gradients(network, batch, loss):
        squares += sum(each.square().sum(dtype=torch.float64).item() for each in gradients.values())
    return squares / len(batch)
