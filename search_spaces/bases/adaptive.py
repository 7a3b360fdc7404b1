"""Basis functions that are micro networks (Deep Learning for Functional Data Analysis with Adaptive Basis Layers)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Choice, Integer, Struct
from search_spaces.registry import register


@register(
    "basis",
    "adaptive",
    paper="Deep Learning for Functional Data Analysis with Adaptive Basis Layers",
    options=Struct(count=Integer(2, 6), hidden=Choice(4, 8)),
)
class Adaptive(nn.Module):
    """Σ_h v_jh·tanh(w_jh·x + u_jh) + c_j, a network of one hidden layer for each of the `count` functions.

    Shapes: [...] to [..., count], the new dimension at `dim`; all networks are worked out at once, through
    [..., count, hidden]. Weights start so that the hidden units of a network bend at places spread over
    [low, high], with slopes of 1 to 2 of either sign; v from N(0, 1/hidden). Far out the functions are constant.
    The paper's networks have several layers with layer normalisation, and may be regularised towards orthogonal
    and sparse functions; both are left out. Half precision is worked out in float32.
    """

    def __init__(self, count: int = 4, hidden: int = 4, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        if count < 1 or hidden < 1 or low > high:
            raise ValueError(f"no {count} networks of {hidden} hidden units over [{low:g}, {high:g}]")
        self.count = count
        places = low + (high - low) * (torch.arange(hidden) + torch.rand(count, hidden)) / hidden
        signs = torch.randint(2, (count, hidden)) * 2.0 - 1
        weight = signs * (1 + torch.rand(count, hidden))
        self.weight = nn.Parameter(weight)
        self.offset = nn.Parameter(-weight * places)
        self.outer = nn.Parameter(torch.randn(count, hidden) * hidden**-0.5)
        self.bias = nn.Parameter(torch.zeros(count))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        bent = torch.addcmul(self.offset.to(dtype), x.to(dtype)[..., None, None], self.weight.to(dtype)).tanh()
        values = torch.einsum("...jh,jh->...j", bent, self.outer.to(dtype)) + self.bias.to(dtype)
        return values.movedim(-1, dim).to(x.dtype)

    def extra_repr(self) -> str:
        return f"count={self.count}, hidden={self.weight.shape[1]}"
