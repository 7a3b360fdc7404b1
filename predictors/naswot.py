"""NASWOT (Neural Architecture Search without Training): do samples fall into different linear regions?

    score = log |det K|     K_ij = units - Hamming(c_i, c_j)

c_i is the binary code of sample i, a bit for each unit: 1 where the input of a non-linear module is above zero. The
official code takes modules of the class ReLU; see `regions` for what counts here, which is the same where ReLU is the
only one. Batch normalisation uses the statistics of the batch. Samples of equal codes make K singular: such a network
cannot be scored.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.regions import visit_codes

BLOCK = 2**22  # elements; sums of fewer than 2^24 ones are exact in float32


@predictor(
    paper="Mellor et al., Neural Architecture Search without Training, 2021",
    cost="a forward pass of the batch",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Sum up the kernel [n, n] layer by layer, and take its log-determinant."""
    kernel = torch.zeros(len(batch), len(batch), dtype=torch.float64, device=batch.inputs.device)

    def add(codes: Tensor) -> None:
        for block in torch.split(codes, max(1, BLOCK // len(codes)), 1):
            ones = block.float()
            both = (ones @ ones.T).double()
            alone = both.diagonal()
            kernel.add_(2 * both - alone[:, None] - alone + block.shape[1])

    visit_codes(network, batch, loss, add)
    if len(torch.unique(kernel, dim=0)) < len(kernel):
        raise Unscorable("some samples have the same code, so that the determinant of their kernel is 0")
    return float(torch.linalg.slogdet(kernel).logabsdet)
