"""SWAP (Sample-Wise Activation Patterns for Ultra-fast NAS): how many units tell the samples apart in another way?

    score = |{(c_1u, ..., c_nu) : u a unit}|

c_iu is 1 where the input of a non-linear module is above zero in unit u for sample i: the pattern of a unit is which
samples activate it, and patterns are counted over all layers together, each once. There are at most 2^n, which wide
networks reach with 16 samples: take 32 or more. The official code takes the outputs of modules of the class ReLU; see
`regions` for what counts here, which is the same where ReLU is the only one. Left out: the paper's regularised form,
whose two constants are chosen for a wanted size of model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, predictor
from predictors.regions import visit_codes

WORD = 64  # samples whose codes are the bits of one number
GATHERED = 2**21  # patterns up to which those of several layers wait to be compared


@predictor(
    paper="Peng et al., SWAP-NAS: Sample-Wise Activation Patterns for Ultra-Fast NAS, 2024",
    cost="a forward pass of the batch",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Gather the distinct patterns, layer by layer."""
    patterns: list[Tensor] = []

    def add(codes: Tensor) -> None:
        patterns.append(_words(codes))
        if sum(map(len, patterns)) > GATHERED:
            patterns[:] = [_distinct(torch.cat(patterns))]

    visit_codes(network, batch, loss, add)
    return float(len(_distinct(torch.cat(patterns))))


def _words(codes: Tensor) -> Tensor:
    """Return the patterns of units [units, words] from codes [n, units]."""
    words = []
    for part in torch.split(codes, WORD):
        word = torch.zeros(part.shape[1], dtype=torch.int64, device=codes.device)
        for row in part:
            word = 2 * word + row  # the first of 64 becomes the sign
        words.append(word)
    return torch.stack(words, 1)


def _distinct(patterns: Tensor) -> Tensor:
    """Return the distinct rows of whole numbers [rows, words]."""
    # torch sorts plain numbers much faster than rows.
    distinct: Tensor = (
        torch.unique(patterns[:, 0])[:, None] if patterns.shape[1] == 1 else torch.unique(patterns, dim=0)
    )
    return distinct
