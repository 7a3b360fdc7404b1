"""Path norm (A path-norm toolkit for modern networks): the sum over all paths of their absolute weights.

    score = log(1 + Σ_o out_o(1; |θ|))

For ReLU networks with pools this is the L1 path norm: the sum over all paths, from an input or a bias to an output,
of the product of the absolute weights on the path. Maxima of windows of maps (MaxPool2d) are taken as sums, as the
toolkit has it. `flow` says what becomes of norms, and where functions are not ReLU: there it is no norm and bounds
nothing, but still what the network with absolute parameters makes of ones.

The paper bounds with it how badly a trained network may generalise, and smaller is better there. As a score of
untrained networks it measures what can pass through them, as synflow does, and larger is said to be better.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from predictors import Batch, Loss, Unscorable, predictor
from predictors.flow import flow_network


class SumPool2d(nn.Module):
    """The sum over the windows of a max-pool of maps."""

    def __init__(self, pool: nn.MaxPool2d) -> None:
        super().__init__()
        if pool.ceil_mode:
            raise Unscorable("it has a max-pool with ceil_mode, whose last windows are cut off")
        self.pool = pool

    def forward(self, x: Tensor) -> Tensor:
        pool = self.pool
        sides = (pool.kernel_size,) * 2 if isinstance(pool.kernel_size, int) else pool.kernel_size
        ones = x.new_ones(x.shape[1], 1, *sides)
        return functional.conv2d(x, ones, None, pool.stride, pool.padding, pool.dilation, x.shape[1])


@predictor(
    paper="Gonon et al., A path-norm toolkit for modern networks: consequences, promises and challenges, 2024",
    cost="a forward pass of one sample in float64",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Pass ones through absolute weights."""
    network = flow_network(network)
    for parent in list(network.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, nn.MaxPool2d):
                setattr(parent, name, SumPool2d(child))
    with torch.no_grad():
        flow: Tensor = network(torch.ones_like(batch.inputs[:1], dtype=torch.float64)).abs().sum()
    return flow.log1p().item()
