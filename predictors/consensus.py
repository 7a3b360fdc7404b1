"""Consensus: the ranks of four signs of a good network in the manner of AZ-NAS, for networks of any kind.

The score is that of `az_nas`, Σ of log(rank/m) over expressivity, progressivity, trainability and complexity among m
networks. Inputs are Gaussian noise in the shape of the batch's, no labels are needed. Four things differ, so that it
holds for layers and wirings of any kind and networks of any depth:

- Weights are those that the network starts with. AZ-NAS draws those of convolutions and linear layers anew, which would
  undo what KAN layers, rationals and attention need at the start; and it is from its own start that a network is
  trained.
- Gates are opened: a single number that is zero at the start, and no bias, such as the factor of a rezero branch,
  becomes 1, and so does the scale of a norm that is zero throughout. Such a block is the identity at the start, and
  nothing could be said of it. A block that then still hands on its input as it is gives the lowest trainability of
  all, as in AZ-NAS.
- Expressivity is the mean entropy of the blocks, not their sum, which is above all their number. Where all
  networks have as many blocks this makes no difference.
- Complexity is live FLOPs (see `noise`): what is computed on dead paths changes nothing.

A network of which the output does not depend on the input has no live FLOPs past its stem, no entropy there, and norms
of 0, for which trainability is about -1e6.

How the constants were chosen: the smallest gain, the 1e-6, equal weights and the logarithm of ranks are AZ-NAS's, as
is what becomes of blocks that hand on their input. No number was fitted, but one choice was made by looking. The mean
was to be decided on the even ones of 329 kan_vision networks trained on the digits, and those were for it (Kendall
.26, the sum .21); on the odd ones, held out, the two are alike (.15, .16), on digits_bench, networks of one or two
blocks, the sum is better (.32 to .35). NAS-Bench-Macro (.68 to .59) and NAS-Bench-201, where all have as many blocks,
had been seen when it was settled, and so had other ways of dealing with blocks that hand on their input. So Macro's
figure is not one of held-out networks: with the sum it is ρ .79 in place of .85.
"""

from __future__ import annotations

import sys

from torch import nn

from predictors import Batch, Loss, combination
from predictors.az_nas import COST, PARTS, log_ranks, progressivity, trainability
from predictors.flow import NORMS
from predictors.noise import gaussian, measure


@combination(
    parts=PARTS,
    pool=log_ranks,
    paper="in the manner of Lee and Ham, AZ-NAS: Assembling Zero-Cost Proxies for Network Architecture Search, 2024",
    cost=COST,
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> dict[str, float]:
    """Measure the network with its gates opened."""
    _open_gates(network)
    found = measure(network, gaussian(batch))
    return {
        "expressivity": sum(found.entropies) / len(found.entropies),
        "progressivity": progressivity(found.entropies),
        "trainability": -sys.float_info.max if any(found.same) else trainability(found.norms),
        "complexity": found.live_flops,
    }


def _open_gates(network: nn.Module) -> None:
    scales = {id(module.weight) for module in network.modules() if isinstance(module, NORMS)}
    for name, parameter in network.named_parameters():
        gate = id(parameter) in scales or (parameter.numel() == 1 and "bias" not in name)
        if gate and parameter.requires_grad and not parameter.any():
            nn.init.ones_(parameter)
