"""Combinations of two shifted activations (AF-KAN)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.bases.placing import along
from search_spaces.decisions import Choice, Integer, Struct
from search_spaces.registry import register

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": functional.gelu,
    "relu": functional.relu,
}

COMBINATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "quad1": lambda a, b: (a * b).square(),
    "quad2": lambda a, b: a * b + a.square() + b.square(),
    "sum": lambda a, b: a + b,
    "prod": lambda a, b: a * b,
    "sum_prod": lambda a, b: a + b + a * b,
    "cubic1": lambda a, b: (a + b) * (a.square() + b.square()),
    "cubic2": lambda a, b: (a * b) ** 3,
}

POINTS = 257


@register(
    "basis",
    "af_kan",
    paper="AF-KAN: Activation Function-Based Kolmogorov-Arnold Networks for Efficient Representation Learning",
    options=Struct(combination=Choice(*COMBINATIONS), intervals=Integer(3, 8)),
)
class AFKAN(nn.Module):
    """g_i·f(act(x - s_i), act(e_i - x)): f one of seven quadratic, linear and cubic combinations, g a softmax gate.

    With a and b the two activations (silu, gelu or relu), f is: quad1 (ab)², quad2 ab+a²+b², sum a+b, prod ab,
    sum_prod a+b+ab, cubic1 (a+b)(a²+b²), cubic2 (ab)³. The grid is ReLU-KAN's: with g intervals of length
    h = (high - low)/g and order k, s_i = low + (i - k)·h and e_i = s_i + (k + 1)·h for i = 0 .. g + k - 1.

    Shapes: [...] to [..., intervals + order], the new dimension at `dim`. Adapted, so that it is a basis and no
    sample depends on another:
    - The paper scales the functions by their smallest and largest values in the batch. Here each is divided by its
      largest value on 257 points from low to high, and x is clamped to [s_0, e_last]: beyond, all are constant.
    - The paper's global and spatial attention weigh the functions and sum them up. Here a trainable softmax over
      the functions weighs them, times their number so that the gates start at 1; the layer sums them up.
    - The s_i and e_i are fixed, where the paper's code trains them.
    Half precision is worked out in float32.
    """

    starts: Tensor
    heights: Tensor

    def __init__(
        self,
        combination: str = "quad1",
        intervals: int = 5,
        order: int = 3,
        activation: str = "silu",
        low: float = -2.0,
        high: float = 2.0,
    ) -> None:
        super().__init__()
        if combination not in COMBINATIONS:
            raise ValueError(f"no combination {combination!r}: there are {', '.join(COMBINATIONS)}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"no activation {activation!r}: there are {', '.join(ACTIVATIONS)}")
        if intervals < 1 or order < 0 or low >= high:
            raise ValueError(f"no AF-KAN functions of order {order} on {intervals} intervals of [{low:g}, {high:g}]")
        self.combination = combination
        self.activation = activation
        self.count = intervals + order
        self.order = order
        self.low = low
        self.step = (high - low) / intervals
        # In grid steps from `low`, so that the buffer holds exact whole numbers in every precision.
        self.register_buffer("starts", torch.arange(self.count) - float(order))
        self.gate = nn.Parameter(torch.zeros(self.count))
        grid = torch.linspace(0, intervals, POINTS, dtype=torch.float64)
        heights = self._combined(grid[:, None] - self.starts).abs().amax(0)
        self.register_buffer("heights", heights.to(torch.get_default_dtype()))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        steps = ((x.to(dtype) - self.low) / self.step).clamp(-self.order, self.count)
        place, starts = along(self.starts.to(dtype), x.ndim, dim)
        inside = steps.unsqueeze(place) - starts  # grid steps since s_i
        gate = self.count * self.gate.to(dtype).softmax(0) / self.heights.to(dtype)
        return (self._combined(inside) * along(gate, x.ndim, dim)[1]).to(x.dtype)

    def _combined(self, inside: Tensor) -> Tensor:
        """Return f of the two activations, given the grid steps from s_i to x."""
        act = ACTIVATIONS[self.activation]
        return COMBINATIONS[self.combination](act(inside * self.step), act((self.order + 1 - inside) * self.step))

    def extra_repr(self) -> str:
        return f"combination={self.combination}, activation={self.activation}, count={self.count}, order={self.order}"
