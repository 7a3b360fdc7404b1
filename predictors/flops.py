"""FLOPs: multiplications and additions of matrix products, convolutions and attention, for one sample.

Not counted is element-wise work: activations, norms, pooling, biases, residual sums, and the evaluation of a basis
before its matrix product; nor are Fourier transforms and QR decompositions. As a predictor it is a baseline: what
computes more is said to be better.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from predictors import Batch, Loss, predictor


@predictor(cost="a forward pass of one sample")
def score(network: nn.Module, batch: Batch, loss: Loss) -> float:
    """Count in evaluation mode."""
    with torch.no_grad():
        return count(network.eval(), batch.inputs[:1])


def count(network: nn.Module, sample: Tensor) -> int:
    """Count the FLOPs of a forward pass in the network's mode; `sample` is [1, ...]."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # a whole encoder layer as one operator, which counts as nothing
    try:
        with FlopCounterMode(display=False, custom_mapping=UNCOUNTED) as counter:
            network(sample)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


def _attention(query: Any, key: Any, value: Any, *args: Any, out_shape: Any = None, **options: Any) -> int:
    """Count the attention that torch's counter does not know, the fused one of the CPU, from its shapes."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]


def _bag(table: Any, indices: Any, *args: Any, out_shape: Any = None, **options: Any) -> int:
    """Count a weighted sum of rows, which is how KAN layers of fine grids are contracted."""
    return 2 * int(indices[0]) * int(indices[1] if len(indices) > 1 else 1) * int(table[1])


UNCOUNTED = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._embedding_bag: _bag,
    torch.ops.aten._embedding_bag_forward_only: _bag,
}
