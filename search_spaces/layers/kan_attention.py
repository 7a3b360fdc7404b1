"""Attention whose softmax is replaced by learned functions (Kolmogorov-Arnold Attention, KArAt)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Architecture, Choice, Struct
from search_spaces.layers.convolution import LINEAR, RECTIFIED, convolution
from search_spaces.layers.tokens import join, split
from search_spaces.moments import second_moment
from search_spaces.registry import make, register


@register(
    "layer",
    "kan_attention",
    paper="Kolmogorov-Arnold Attention: Is Learnable Attention Better For Vision Transformers?",
    options=Struct(basis=Choice("fourier", "rbf", "bspline")),
)
class KanAttention(nn.Module):
    """y_i = Σ_p [W·Φ(l_i)]_p·v_p, where Φ(l)_r = Σ_q φ_rq(l_q) and φ_rq(l) = Σ_m c_rqm·basis_m(l).

    l_i are the logits q_i·k_p/√size of place i and all p. The row operator W·Φ stands in for the softmax: learned
    functions from the logits of a row to `rank` numbers, and a matrix W from these back to a weight for each p. It is
    KArAt's modular, low-rank operator, one for each head, with the Fourier basis by default.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]; every place is a query, in
    `heads` heads of size max(1, channels_in // heads). KArAt's operator belongs to one number of tokens. Here keys
    and values are averaged to cells·cells places first (adaptive pooling, which repeats places of smaller maps), so
    that one operator serves maps of any size, and memory grows with the places and not with their square.

    Left out: the full operator from all places to all, the operator shared by all layers, and the projection of the
    weights on the simplex, which KArAt does without too. The coefficients start at N(0, 1/(places·Σ_m E[basis_m²]))
    and W at N(0, 1/(rank·places)), which keeps the variance of inputs that are alike at all places.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        gain: float = RECTIFIED,
        *,
        basis: Architecture = "fourier",
        heads: int = 4,
        rank: int = 8,
        cells: int = 4,
    ) -> None:
        super().__init__()
        if min(heads, rank, cells) < 1:
            raise ValueError(
                f"heads, rank, cells are {heads}, {rank}, {cells}, but whole numbers from 1 up are allowed"
            )
        inside, places = heads * max(1, channels_in // heads), cells**2
        self.heads = heads
        self.cells = cells
        self.query = convolution(channels_in, inside, 1, gain=gain)
        self.key = convolution(channels_in, inside, 1, gain=gain)
        self.value = convolution(channels_in, inside, 1, gain=gain)
        self.mix = convolution(inside, channels_out, 1, gain=LINEAR)
        self.basis = make("basis", basis)
        size = float(second_moment(self.basis).sum())
        self.coefficients = nn.Parameter(torch.randn(heads, places * self.basis.count, rank) * (places * size) ** -0.5)
        self.back = nn.Parameter(torch.randn(heads, rank, places) * (rank * places) ** -0.5)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        pooled = functional.adaptive_avg_pool2d(x, self.cells)
        query, key, value = (
            split(layer(maps), self.heads)
            for layer, maps in ((self.query, x), (self.key, pooled), (self.value, pooled))
        )
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(2, 3)
        weights = self.basis(logits).flatten(3) @ self.coefficients @ self.back
        mixed: Tensor = self.mix(join(weights @ value, height, width))
        return mixed

    def extra_repr(self) -> str:
        heads, rank, places = self.back.shape
        return f"heads={heads}, rank={rank}, places={places}"
