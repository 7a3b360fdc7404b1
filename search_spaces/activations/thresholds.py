"""Activations that set many values to zero, clipped in magnitude (DNN Initialization with Sparsity Inducing ...).

Without the clipping, or with little of it, what the second moment of the values does from layer to layer is unstable.
It is stable where the slope of log E[f(√q·z)²] over log q is below 1: with weights alone, 0.88 at the defaults τ = 0.5,
m = 1, but 1.56 at τ = m = 1, for which the paper draws biases, too.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import softshrink

from search_spaces.decisions import Real, Struct
from search_spaces.registry import register

OPTIONS = Struct(tau=Real(0.25, 1.0), magnitude=Real(0.5, 1.5))
PAPER = "Deep Neural Network Initialization with Sparsity Inducing Activations"


@register("activation", "shifted_relu", paper=PAPER, options=OPTIONS)
class ShiftedReLU(nn.Module):
    """min(max(0, x - τ), m): zero up to τ, clipped at m.

    Any shape. τ = 0.5 sets 69 % of normal values to zero.
    """

    def __init__(self, channels: int, tau: float = 0.5, magnitude: float = 1.0) -> None:
        super().__init__()
        _check(tau, magnitude)
        self.tau, self.magnitude = tau, magnitude

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.tau).clamp(0, self.magnitude)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, magnitude={self.magnitude:g}"


@register("activation", "soft_threshold", paper=PAPER, options=OPTIONS)
class SoftThreshold(nn.Module):
    """sign(x)·min(max(0, |x| - τ), m): shrinkage by τ, clipped at m.

    Any shape. τ = 0.5 sets 38 % of normal values to zero.
    """

    def __init__(self, channels: int, tau: float = 0.5, magnitude: float = 1.0) -> None:
        super().__init__()
        _check(tau, magnitude)
        self.tau, self.magnitude = tau, magnitude

    def forward(self, x: Tensor) -> Tensor:
        return softshrink(x, self.tau).clamp(-self.magnitude, self.magnitude)

    def extra_repr(self) -> str:
        return f"tau={self.tau:g}, magnitude={self.magnitude:g}"


def _check(tau: float, magnitude: float) -> None:
    if tau < 0 or magnitude <= 0:
        raise ValueError(f"tau is at least 0 and magnitude above 0, but got {tau} and {magnitude}")
