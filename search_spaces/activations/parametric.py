"""PReLU, a ReLU that learns its slope below zero (Delving Deep into Rectifiers)."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import prelu

from search_spaces.registry import register


@register(
    "activation",
    "prelu",
    paper="Delving Deep into Rectifiers: Surpassing Human-Level Performance on ImageNet Classification",
)
class PReLU(nn.PReLU):
    """max(0, x) + a·min(0, x), a slope a for each channel, 0.25 at the start.

    Shapes: [batch, channels, ...] to the same; a [channels]. It goes with weights of variance 2/((1 + a²)·fan_in).
    Unlike torch's, it takes inputs of lower precision than its slopes.
    """

    def __init__(self, channels: int, init: float = 0.25) -> None:
        super().__init__(channels, init)

    def forward(self, x: Tensor) -> Tensor:
        return prelu(x, self.weight.to(x.dtype))
