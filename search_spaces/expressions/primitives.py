"""The primitives of expressions: element-wise functions that are finite for every moderate input, with their slopes.

Four are guarded. exp is held at e^30. Division moves its divisor out to 1e-6 where that is nearer to 0. sqrt takes
√(|x| + 1e-6), as the slope of √|x| at 0 is infinite. log1p takes ln(1 + |x|).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

LARGEST_EXPONENT = 30.0
SMALLEST = 1e-6


def _divide(a: Tensor, b: Tensor) -> Tensor:
    return a / torch.where(b < 0, b.clamp(max=-SMALLEST), b.clamp(min=SMALLEST))


UNARY: dict[str, Callable[[Tensor], Tensor]] = {
    "neg": torch.neg,
    "abs": torch.abs,
    "square": lambda x: x * x,
    "cube": lambda x: x * x * x,
    "sqrt": lambda x: torch.sqrt(x.abs() + SMALLEST),
    "exp": lambda x: torch.exp(x.clamp(max=LARGEST_EXPONENT)),
    "log1p": lambda x: torch.log1p(x.abs()),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "erf": torch.erf,
    "softplus": functional.softplus,
    "relu": torch.relu,
    "sin": torch.sin,
    "cos": torch.cos,
}

BINARY: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "add": torch.add,
    "sub": torch.sub,
    "mul": torch.mul,
    "div": _divide,
    "max": torch.maximum,
    "min": torch.minimum,
}
COMMUTATIVE = frozenset({"add", "mul", "max", "min"})
