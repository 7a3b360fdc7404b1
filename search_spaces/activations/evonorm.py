"""EvoNorm-S0 and B0, normalisation and activation in one (Evolving Normalization-Activation Layers).

Variances are biased and worked out in float32. Behind either no further norm belongs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.activations.channels import at_least_single, per_channel
from search_spaces.registry import register

PAPER = "Evolving Normalization-Activation Layers"


@register("activation", "evonorm_s0", paper=PAPER)
class EvoNormS0(nn.Module):
    """x·σ(v·x)/group_std(x)·γ + β, v, γ, β a channel.

    Shapes: [batch, channels, ...] to the same. The standard deviation √(variance + ε) is that of one sample over the
    channels and places of a group: 32 groups, or the largest number below that divides the channels. Where
    a group would be a single number, which has no variance (a vector, or a map of one place, of up to 32 channels), all
    channels are one group. v and γ start from 1, β from 0.
    """

    def __init__(self, channels: int, groups: int = 32, eps: float = 1e-5) -> None:
        super().__init__()
        if groups < 1:
            raise ValueError(f"there is at least 1 group, but got {groups}")
        self.groups = max(n for n in range(1, groups + 1) if channels % n == 0)
        self.eps = eps
        self.v = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        single = self.groups == x.shape[1] and x.shape[2:].numel() == 1
        members = torch.unflatten(wide, 1, (1 if single else self.groups, -1))
        variance = members.var(tuple(range(2, members.ndim)), correction=0, keepdim=True)
        gated = wide * torch.sigmoid(per_channel(self.v, wide) * wide)
        y = gated.view_as(members) * torch.rsqrt(variance + self.eps)
        y = y.flatten(1, 2) * per_channel(self.gamma, wide) + per_channel(self.beta, wide)
        return y.to(x.dtype)

    def extra_repr(self) -> str:
        return f"groups={self.groups}, eps={self.eps:g}"


@register("activation", "evonorm_b0", paper=PAPER, lacks=["vmap"])
class EvoNormB0(nn.Module):
    """x/max(batch_std(x), v·x + instance_std(x))·γ + β, v, γ, β a channel.

    Shapes: [batch, channels, ...] to the same. batch_std is that of a channel over batch and places, in evaluation the
    running average of its variance (momentum 0.1, from 1); instance_std that of a channel of one sample over its
    places, which is √ε in vectors [batch, channels]. v and γ start from 1, β from 0.
    """

    running_var: Tensor

    def __init__(self, channels: int, eps: float = 1e-3, momentum: float = 0.1) -> None:
        super().__init__()
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum lies from 0 to 1, but got {momentum}")
        self.eps, self.momentum = eps, momentum
        self.v = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        wide = at_least_single(x)
        batch_std = per_channel(self.variance(wide) + self.eps, wide).sqrt()
        instance_std = (wide.flatten(2).var(2, correction=0) if x.ndim > 2 else torch.zeros_like(wide)) + self.eps
        instance_std = instance_std.sqrt().view(*x.shape[:2], *[1] * (x.ndim - 2))
        y = wide / torch.maximum(batch_std, per_channel(self.v, wide) * wide + instance_std)
        return (y * per_channel(self.gamma, wide) + per_channel(self.beta, wide)).to(x.dtype)

    def variance(self, x: Tensor) -> Tensor:
        """Return the variance [channels] to divide by; in training, count it into the running average."""
        if not self.training:
            return self.running_var.to(x.dtype)
        variance = x.transpose(0, 1).flatten(1).var(1, correction=0)
        with torch.no_grad():
            self.running_var.lerp_(variance.to(self.running_var.dtype), self.momentum)
        return variance

    def extra_repr(self) -> str:
        return f"eps={self.eps:g}, momentum={self.momentum:g}"
