"""Bodies that stand alone or are added to their input."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.registry import register


@register("wiring", "plain")
def plain(body: nn.Module, channels: int) -> nn.Module:
    """F(x), the body alone."""
    return body


@register("wiring", "residual", paper="Deep Residual Learning for Image Recognition")
class Residual(nn.Module):
    """x + F(x)."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.body(x)
        return added


@register("wiring", "rezero", paper="ReZero is All You Need")
class ReZero(nn.Module):
    """x + a·F(x), with one trainable a that starts at 0, so that the body starts as the identity."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body = body
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.alpha * self.body(x)
        return added
