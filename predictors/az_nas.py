"""AZ-NAS: four signs of a good network, expressivity, progressivity, trainability and complexity, by their ranks.

With s_l the entropy of block l's features, and σ_l the norm of what happens to gradients between block l and the one
before (see `spectra`), among m networks:

    expressivity  = Σ_l s_l
    progressivity = min_l (s_l - s_{l-1})
    trainability  = mean_l (2 - σ_l - 1/(σ_l + 1e-6))
    complexity    = FLOPs
    score         = Σ of log(rank/m) over these four; the largest number has rank m, equal numbers share their mean rank

It says something among other networks only: the score of one by itself is 0. As in the official code the inputs are
Gaussian noise, the weights of convolutions and linear layers are drawn anew from N(0, 2/fan_in), norms start with scale
1 and shift 0, and a network with a block that hands on its input as it is has the lowest trainability there is (there
-∞, here the lowest number). Other layers, such as KAN bases, keep the weights they have. The official code writes
for each family of networks what its blocks are; here `blocks` finds them in any.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import cast

import numpy as np
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn.utils import parametrize

from predictors import Batch, Loss, Unscorable, combination
from predictors.noise import gaussian, measure

PARTS = ("expressivity", "progressivity", "trainability", "complexity")
COST = "a forward and a backward pass of the batch, without gradients of weights"
LEAST_NORM = 1e-6
NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm)


def log_ranks(rows: Sequence[Sequence[float]]) -> list[float]:
    """Return Σ log(rank/m) over the columns of m rows; equal numbers share their mean rank."""
    ranks = rankdata(np.asarray(rows, dtype=np.float64), axis=0)
    summed: list[float] = np.log(ranks / len(rows)).sum(1).tolist()
    return summed


def progressivity(entropies: Sequence[float]) -> float:
    """Return the smallest gain of entropy from a block to the next."""
    return min(after - before for before, after in pairwise(entropies))


def trainability(norms: Sequence[float | None]) -> float:
    """Return the mean of 2 - σ - 1/(σ + 1e-6), which is at most about 0, where σ is 1: gradients keep their size."""
    terms = [2 - norm - 1 / (norm + LEAST_NORM) for norm in norms if norm is not None]
    if not terms:
        raise Unscorable("gradients are compared at the places of successive blocks, but none of them correspond")
    return sum(terms) / len(terms)


@combination(
    parts=PARTS,
    pool=log_ranks,
    paper="Lee and Ham, AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, 2024",
    cost=COST,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> dict[str, float]:
    """Measure the network with weights drawn anew."""
    noise = gaussian(batch)
    _redraw(network)
    found = measure(network, noise)
    return {
        "expressivity": sum(found.entropies),
        "progressivity": progressivity(found.entropies),
        "trainability": -sys.float_info.max if any(found.same) else trainability(found.norms),
        "complexity": found.flops,
    }


def _redraw(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(_drawn(module))
        elif isinstance(module, NORMS) and module.affine:
            nn.init.ones_(module.weight)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _drawn(module: nn.Conv2d | nn.Linear) -> Tensor:
    """Return the tensor that is drawn: the weight, or what a mask covers."""
    if not parametrize.is_parametrized(module, "weight"):
        return module.weight
    original = getattr(module.parametrizations.weight, "original", None)  # type: ignore[union-attr]
    if original is None:
        raise Unscorable("it has a weight made of several tensors, which cannot be drawn anew")
    return cast(Tensor, original)
