"""Signal propagation: do variances keep and means stay at zero from block to block, before any training?

For block l's features (see `blocks`), with mean and variance of each channel over all samples and places, v_l the
average of the variances over channels and q_l that of the squared means:

    score = -mean_{l>1} |log(v_l/v_{l-1})| - mean_l log(1 + q_l/v_l)

The paper plots v_l and q_l over the depth and reads from them whether a network without normalisation will train; these
are `propagation`. The score, which is ours, puts them in one number: 0 is best. Its first part counts growth and
decay alike, in nats a block; its second is the logarithm of the share that the mean shift takes of the second moment.
Residual blocks with normalised branches lose a little by it, since their variance grows with depth and falls
where a stage begins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.blocks import forward, profile, units


@dataclass(frozen=True)
class Signal:
    """At the end of a block: the averages over channels of their squared means and of their variances."""

    block: str
    squared_mean: float
    variance: float


@predictor(
    paper="Brock et al., Characterizing signal propagation to close the performance gap in unnormalized ResNets, 2021",
    cost="a forward pass of the batch",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Put the signals of all blocks in one number."""
    signals = propagation(network, batch)
    for each in signals:
        if not 0 < each.variance < math.inf:
            raise Unscorable(f"channels have to vary, but after block {each.block} their variance is {each.variance}")
    logs = [math.log(each.variance) for each in signals]
    drift = sum(abs(after - before) for before, after in pairwise(logs)) / (len(logs) - 1)
    shift = sum(math.log1p(each.squared_mean / each.variance) for each in signals) / len(signals)
    return -drift - shift


def propagation(network: nn.Module, batch: Batch) -> list[Signal]:
    """Return the signal at the end of each block, in the order of their calls.

    The network is left in training mode, its buffers changed by a pass. Where memory does not allow the batch at once,
    figures are means over its chunks. Raises Unscorable when there are no two blocks.
    """
    known = profile(network, batch)
    parts = units(network, list(known.flops))
    names, total = list[str](), torch.zeros(())
    with torch.no_grad():
        for chunk in batch.chunks(known.sample_bytes, least=2):
            features = forward(network, chunk.inputs, parts, ()).features
            names = [each.name for each in features]
            total = total + len(chunk) / len(batch) * torch.tensor([_moments(each.values) for each in features])
    return [Signal(name, *each) for name, each in zip(names, total.tolist(), strict=True)]


def _moments(x: torch.Tensor) -> tuple[float, float]:
    places = tuple(i for i in range(x.ndim) if i != (1 if x.ndim > 3 else x.ndim - 1))
    variance, mean = torch.var_mean(x, places, correction=0)
    return mean.square().mean().item(), variance.mean().item()
