"""HeLU, a ReLU whose gradient lives on a little below zero (Hysteresis Activation Function for Efficient Inference)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.decisions import Real, Struct
from search_spaces.registry import register


class _Hysteresis(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, alpha: float) -> Tensor:
        return x.relu()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        x, ctx.alpha = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (x,) = ctx.saved_tensors
        return grad * (x > -ctx.alpha), None


@register(
    "activation",
    "helu",
    paper="Hysteresis Activation Function for Efficient Inference",
    options=Struct(alpha=Real(0.01, 0.2)),
)
class HeLU(nn.Module):
    """max(0, x), whose gradient passes where x > -alpha.

    Any shape. At inference it is exactly ReLU; alpha = 0 is ReLU in training, too. The paper's own alpha
    is not known to us: 0.05 is our default.
    """

    def __init__(self, channels: int, alpha: float = 0.05) -> None:
        super().__init__()
        if alpha < 0:
            raise ValueError(f"alpha is at least 0, but got {alpha}")
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = _Hysteresis.apply(x, self.alpha)  # type: ignore[no-untyped-call]
        return activated

    def extra_repr(self) -> str:
        return f"alpha={self.alpha:g}"
