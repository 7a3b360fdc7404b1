"""Rational activations in the safe Padé form, one for a layer or one for each group of its channels.

    r(x) = (a_0 + a_1·x + ... + a_5·x⁵) / (1 + |b_1|·|x| + ... + |b_4|·|x|⁴)

The denominator never falls below 1, so there are no poles (Padé Activation Units; Adaptive Rational
Activations). They are worked out by `kernels.group_rational`, which keeps only x for the backward pass. The starting
coefficients come from `rational_fit`. Through a deep stack without normalisation the variance does what it does for
the function fitted: fitted to silu or gelu, deviations from 1 grow from layer to layer (see `standard`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from kernels.group_rational import group_rational as evaluate
from search_spaces.activations.rational_fit import fit
from search_spaces.activations.rational_table import COEFFICIENTS
from search_spaces.decisions import Choice, Struct
from search_spaces.registry import register

OPTIONS = Struct(init=Choice("silu", "gelu", "relu", "tanh", "identity"))
Init = str | Callable[[Tensor], Tensor]


class Rational(nn.Module):
    """Safe Padé r(x) of degrees (5, 4), with trainable coefficients for each of `groups` groups of channels.

    Shapes: any, of which dimension `dim` holds the channels (1 for maps [batch, channels, ...], -1 for tokens
    [batch, tokens, channels]), to the same; numerator [groups, 6], denominator [groups, 4]. Neighbouring channels form
    a group, and `groups` must divide `channels`. `init` is the function to start from: a name in `rational_table`, or
    any function from a tensor to a tensor, fitted on [-5, 5] by least squares.
    """

    def __init__(self, channels: int, groups: int = 1, init: Init = "silu", dim: int = 1) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"{groups} groups do not divide {channels} channels")
        numerator, denominator = starting(init)
        self.groups, self.dim = groups, dim
        self.numerator = nn.Parameter(torch.tensor(numerator).repeat(groups, 1))
        self.denominator = nn.Parameter(torch.tensor(denominator).repeat(groups, 1))

    def forward(self, x: Tensor) -> Tensor:
        return evaluate(x, self.numerator, self.denominator, self.dim)

    def extra_repr(self) -> str:
        return f"groups={self.groups}, dim={self.dim}"


def starting(init: Init) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the coefficients (a_0..a_5), (b_1..b_4) that start near a function."""
    if isinstance(init, str):
        if init not in COEFFICIENTS:
            raise ValueError(f"init is {init!r}, but {', '.join(COEFFICIENTS)} or a function is allowed")
        return COEFFICIENTS[init]
    with torch.no_grad():
        return fit(lambda x: init(torch.from_numpy(x)).numpy())


@register(
    "activation",
    "rational",
    paper="Adaptive Rational Activations to Boost Deep Reinforcement Learning",
    options=OPTIONS,
)
def rational(channels: int, init: Init = "silu", dim: int = 1) -> nn.Module:
    """P(x)/(1+Σ|b_i|·|x|^i) of degrees (5, 4), safe Padé, fitted to a chosen activation at the start."""
    return Rational(channels, 1, init, dim)


@register("activation", "group_rational", paper="Kolmogorov-Arnold Transformer; FlashKAT", options=OPTIONS)
def group_rational(channels: int, groups: int = 8, init: Init = "silu", dim: int = 1) -> nn.Module:
    """P_g(x)/(1+Σ|b_gi|·|x|^i), as rational with its own coefficients for each of 8 groups g of channels.

    Where 8 does not divide the channels, the largest number below that does is taken. Raises ValueError for groups
    below 1.
    """
    if groups < 1:
        raise ValueError(f"groups is {groups}, but 1 or more is allowed")
    return Rational(channels, max(n for n in range(1, groups + 1) if channels % n == 0), init, dim)
