"""Rational activations in the safe Padé form, one for a layer or one for each group of its channels.

    r(x) = (a_0 + a_1·x + ... + a_5·x⁵) / (1 + |b_1|·|x| + ... + |b_4|·|x|⁴)

The denominator never falls below 1, so there are no poles (Padé Activation Units; Adaptive Rational
Activations). In half precision x⁵ overflows beyond |x| = 9.2, so it is worked out in float32 at least
and cast back. The starting coefficients come from `rational_fit`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.rational_table import COEFFICIENTS
from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

OPTIONS = Struct(init=Choice(*COEFFICIENTS))


class Rational(nn.Module):
    """Safe Padé r(x) of degrees (5, 4), with trainable coefficients for each of `groups` groups of channels.

    Shapes: [batch, channels, ...] to the same; numerator [groups, 6], denominator [groups, 4]. Neighbouring
    channels form a group, and `groups` must divide `channels`.
    """

    def __init__(self, channels: int, groups: int = 1, init: str = "silu") -> None:
        super().__init__()
        if channels % groups:
            raise ValueError(f"{groups} groups do not divide {channels} channels")
        numerator, denominator = COEFFICIENTS[init]
        self.groups = groups
        self.numerator = nn.Parameter(torch.tensor(numerator).repeat(groups, 1))
        self.denominator = nn.Parameter(torch.tensor(denominator).repeat(groups, 1))

    def forward(self, x: Tensor) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        grouped = torch.unflatten(x.to(dtype), 1, (self.groups, -1)).flatten(
            2
        )  # [batch, groups, channels / groups · ...]
        numerator = horner(grouped, self.numerator.to(dtype).T[..., None])
        size = grouped.abs()
        denominator = 1 + size * horner(size, self.denominator.abs().to(dtype).T[..., None])
        return (numerator / denominator).reshape(x.shape).to(x.dtype)

    def extra_repr(self) -> str:
        return f"groups={self.groups}"


def horner(x: Tensor, coefficients: Tensor) -> Tensor:
    """Return c_0 + c_1·x + c_2·x² + ..., the coefficients [degree + 1, ...] each broadcast against x."""
    value = coefficients[-1]
    for coefficient in coefficients[:-1].flip(0):
        value = torch.addcmul(coefficient, value, x)
    return value


@register(
    "activation",
    "rational",
    paper="Adaptive Rational Activations to Boost Deep Reinforcement Learning",
    options=OPTIONS,
)
def rational(channels: int, init: str = "silu") -> nn.Module:
    """Safe Padé P(x)/(1+Σ|b_i|·|x|^i) of degrees (5, 4), fitted to a chosen activation at the start."""
    return Rational(channels, 1, init)


@register("activation", "group_rational", paper="Kolmogorov-Arnold Transformer; FlashKAT", options=OPTIONS)
def group_rational(channels: int, groups: int = 8, init: str = "silu") -> nn.Module:
    """As rational, with its own coefficients for each of 8 groups of channels.

    Where 8 does not divide the channels, the largest number below that does is taken.
    """
    return Rational(channels, max(n for n in range(1, groups + 1) if channels % n == 0), init)
