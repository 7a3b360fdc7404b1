"""Attention to a random part of the places in training (The Information Pathways Hypothesis)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import LINEAR, RECTIFIED, convolution
from search_spaces.layers.tokens import join, split
from search_spaces.registry import register


@register(
    "layer",
    "subsampled_attention",
    paper="The Information Pathways Hypothesis: Transformers are Dynamic Self-Ensembles",
    options=Struct(keep=Choice(0.25, 0.5, 1.0)),
    lacks=["vmap"],
)
class SubsampledAttention(nn.Module):
    """Σ_j softmax_j(q_i·k_j/√size)·v_j over a random share `keep` of the places j in training, over all otherwise.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]; the height·width places are
    the tokens. There are `heads` heads of size max(1, channels_in // heads). Each forward pass in training draws one
    subset of keys and values, at least one, from torch's generator; all samples, heads and queries share it (the
    paper's unbiased subsampling). In evaluation mode it is ordinary multi-head self-attention.

    Left out: subsets biased towards near places, averaging over several subsets at inference, and a code of the
    position, which a stem with coordinates or any convolution before brings. The weights keep the variance of inputs
    that are alike at all places; attention averages what differs from place to place.
    """

    def __init__(
        self, channels_in: int, channels_out: int, gain: float = RECTIFIED, *, keep: float = 0.5, heads: int = 4
    ) -> None:
        super().__init__()
        if not 0 < keep <= 1:
            raise ValueError(f"keep is {keep:g}, but a share above 0 up to 1 is allowed")
        if heads < 1:
            raise ValueError(f"heads is {heads}, but a whole number from 1 up is allowed")
        inside = heads * max(1, channels_in // heads)
        self.keep = keep
        self.heads = heads
        self.query = convolution(channels_in, inside, 1, gain=gain)
        self.key = convolution(channels_in, inside, 1, gain=gain)
        self.value = convolution(channels_in, inside, 1, gain=gain)
        self.mix = convolution(inside, channels_out, 1, gain=LINEAR)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        query, key, value = (split(layer(x), self.heads) for layer in (self.query, self.key, self.value))
        if self.training and self.keep < 1:
            places = height * width
            kept = torch.randperm(places, device=x.device)[: max(1, round(self.keep * places))]
            key, value = key[:, :, kept], value[:, :, kept]
        attended = functional.scaled_dot_product_attention(query, key, value)
        mixed: Tensor = self.mix(join(attended, height, width))
        return mixed

    def extra_repr(self) -> str:
        return f"keep={self.keep:g}, heads={self.heads}"
