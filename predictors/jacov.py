"""Jacobian covariance (Neural Architecture Search without Training, first version): do inputs pull in own directions?

    score = -Σ_i [log(v_i + k) + 1/(v_i + k)]        v_i the eigenvalues of corr(J), k = 10⁻⁵

at initialisation, with corr(J) [n, n] the correlation coefficients of the rows of J [n, inputs], and row i the
gradient of the sum of all outputs by sample i. As in the official code batch normalisation uses the statistics of the
batch (where the memory asks for chunks, those of a chunk), so a row also holds what the sample does to the others.
Neither labels nor the loss matter. A network that some input does not move has no correlations and cannot be scored.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.gradients import memory_chunks

K = 1e-5


@predictor(
    paper="Mellor et al., Neural Architecture Search without Training, 2021",
    cost="a backward pass of the batch to its inputs",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Take the eigenvalues of the correlations in float64."""
    if len(batch) < 2:
        raise Unscorable("it takes correlations of 2 samples or more, and the batch has 1")
    network.requires_grad_(False)
    batch = replace(batch, inputs=batch.inputs.clone().requires_grad_())
    rows = []
    for chunk in memory_chunks(network, batch, _summed):
        (slopes,) = torch.autograd.grad(_summed(network(chunk.inputs), chunk.targets), chunk.inputs)
        rows.append(slopes.flatten(1).double())
    jacobian = torch.cat(rows)
    if bool((jacobian == jacobian[:, :1]).all(1).any()):
        raise Unscorable("the gradient by some input is the same everywhere, so it has no correlation with others")
    values = torch.linalg.eigvalsh(jacobian.corrcoef())
    return -float((torch.log(values + K) + 1 / (values + K)).sum().item())


def _summed(outputs: Tensor, targets: Tensor) -> Tensor:
    return outputs.sum()
