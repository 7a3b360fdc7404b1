"""Mixtures of experts of which half are perceptrons and half are KANs (MLP-KAN)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import RECTIFIED, SILU, convolution
from search_spaces.registry import make, register


@register(
    "layer",
    "mlp_kan_moe",
    paper="MLP-KAN: Unifying Deep Representation and Function Learning",
    options=Struct(experts=Choice(4, 8)),
)
class MlpKanMoe(nn.Module):
    """y = Σ_e g_e(x)·E_e(x) at each place, g the router's softmax over the `active` most probable of the experts.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]; the places are the tokens.
    The first half of the experts are perceptrons, W2·silu(W1·x) with max(channels_in, channels_out) hidden channels,
    the others are KANs with the basis rbf. The probabilities of the chosen experts are scaled to a sum of 1, 2 are
    chosen of 8 in the paper. A place is routed by itself and no expert has a limit of places, so nothing depends on
    other samples.

    After a forward pass in training `auxiliary_loss` [] holds balance·E·Σ_e f_e·P_e, to be added to the loss of the
    training; else it is None. f_e is the share of the choices that fell on expert e and P_e its mean probability, over
    batch and places; it is `balance` when all are used alike (Switch Transformers). It does not go into copies.

    Every expert is worked out at every place: with experts this small that is faster than gathering the places, but
    the computation is that of all experts. Left out: slots (soft mixture of experts), KANs of two layers.
    """

    auxiliary_loss: Tensor | None

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        gain: float = RECTIFIED,
        *,
        experts: int = 8,
        active: int = 2,
        balance: float = 0.01,
    ) -> None:
        super().__init__()
        if experts < 2 or experts % 2:
            raise ValueError(f"experts is {experts}, but an even number from 2 up is allowed")
        if not 2 <= active <= experts:
            raise ValueError(f"active is {active}, but 2 to {experts}, the number of experts, are allowed")
        hidden = max(channels_in, channels_out)
        self.active = active
        self.balance = balance
        self.auxiliary_loss = None
        self.router = convolution(channels_in, experts, 1, gain=gain)
        perceptrons = [
            nn.Sequential(
                convolution(channels_in, hidden, 1, gain=gain),
                nn.SiLU(),
                convolution(hidden, channels_out, 1, gain=SILU),
            )
            for _ in range(experts // 2)
        ]
        kan = {"kan_conv2d": {"kernel": 1, "basis": "rbf"}}
        kans = [make("layer", kan, channels_in, channels_out) for _ in range(experts // 2)]
        self.experts = nn.ModuleList([*perceptrons, *kans])

    def forward(self, x: Tensor) -> Tensor:
        # In float32 at least, for rounding must not choose other experts.
        wide = torch.promote_types(x.dtype, torch.float32)
        bias = None if self.router.bias is None else self.router.bias.to(wide)
        scores = functional.conv2d(x.to(wide), self.router.weight.to(wide), bias)
        probabilities = scores.softmax(1)
        highest, chosen = probabilities.topk(self.active, dim=1)
        gates = torch.zeros_like(scores).scatter(1, chosen, highest / highest.sum(1, keepdim=True))
        self.auxiliary_loss = self._imbalance(gates, probabilities) if self.training else None
        outputs = [expert(x) for expert in self.experts]
        return torch.stack(
            [gate[:, None] * y for gate, y in zip(gates.to(x.dtype).unbind(1), outputs, strict=True)]
        ).sum(0)

    def _imbalance(self, gates: Tensor, probabilities: Tensor) -> Tensor:
        shares = (gates > 0).float().mean((0, 2, 3)) / self.active
        return self.balance * len(self.experts) * (shares * probabilities.mean((0, 2, 3))).sum()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"auxiliary_loss": None}

    def extra_repr(self) -> str:
        return f"active={self.active}, balance={self.balance:g}"
