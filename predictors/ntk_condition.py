"""NTK condition (TE-NAS): is the neural tangent kernel of the samples well conditioned, so that training is even?

    score = -log(λ_max / λ_min)     of Θ_ij = Σ_k (∂s_i/∂θ_k)·(∂s_j/∂θ_k),   θ_k over all trainable parameters

at initialisation, where s_i is the sum of the outputs (logits) of sample i, as in the official code; higher is better,
and 0 the best there is. Targets do not matter. Each sample passes alone, so batch normalisation uses the statistics of
that one sample, and the score is the same whatever the memory; the official code passes the batch as a whole, and
takes parameters by the name 'weight' alone. Products are summed in float64, so that small eigenvalues survive.

When two blocks of samples' gradients do not fit into the memory side by side, they are computed again for each pair.
A kernel whose λ_min is within rounding of 0, λ_min <= n·ε·λ_max, as when the output does not depend on the input, has
no condition: such a network cannot be scored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from predictors import Batch, Loss, Unscorable, predictor
from predictors.gradients import sample_gradients, trainable


@predictor(
    paper="Chen et al., Neural Architecture Search on ImageNet in Four GPU Hours: A Theoretically Inspired "
    "Perspective, 2021",
    cost="a backward pass for each sample",
)
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Compare the extreme eigenvalues of the kernel."""
    if len(batch) < 2:
        raise Unscorable("the condition of a kernel needs 2 samples or more, but got 1")
    eigenvalues = torch.linalg.eigvalsh(kernel(network, batch))
    least, most = eigenvalues[0].item(), eigenvalues[-1].item()
    rounding = len(batch) * max(torch.finfo(each.dtype).eps for each in trainable(network).values())
    if least <= rounding * most:
        raise Unscorable(f"its neural tangent kernel is singular: eigenvalues from {least:.3g} to {most:.3g}")
    return math.log(least / most)


def kernel(network: nn.Module, batch: Batch) -> Tensor:
    """Return the empirical neural tangent kernel of the summed outputs, [n, n] in float64."""
    rows = torch.zeros(len(batch), len(batch), dtype=torch.float64, device=batch.inputs.device)
    # A sixth: two blocks of gradients, and a parameter of each in float64, at most twice as much each.
    blocks = list(
        replace(batch, memory=batch.memory // 6).chunks(sum(each.nbytes for each in trainable(network).values()))
    )
    sizes = [len(block) for block in blocks]
    for i, block in enumerate(blocks):
        one = list(_gradients(network, block))
        for j in range(i, len(blocks)):
            other = one if i == j else list(_gradients(network, blocks[j]))
            product = torch.zeros_like(rows[: sizes[i], : sizes[j]])
            for left, right in zip(one, other, strict=True):
                product += left.reshape(len(left), -1).double() @ right.reshape(len(right), -1).double().T
            places = slice(sum(sizes[:i]), sum(sizes[: i + 1])), slice(sum(sizes[:j]), sum(sizes[: j + 1]))
            rows[places], rows.T[places] = product, product
    return rows


def _gradients(network: nn.Module, batch: Batch) -> Iterator[Tensor]:
    """Yield the gradients of the samples' summed outputs by each parameter, [n, ...]."""
    chunks = [gradients for _, gradients in sample_gradients(network, batch, lambda outputs, targets: outputs.sum())]
    for name in list(chunks[0]):
        yield torch.cat([each.pop(name) for each in chunks])
