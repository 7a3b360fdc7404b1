"""Token mixing by a two-dimensional wavelet transform of several levels (WaveMix)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Integer, Struct
from search_spaces.layers.convolution import GELU, LINEAR, RECTIFIED, convolution
from search_spaces.registry import register


def haar(x: Tensor) -> Tensor:
    """Return one level of the orthonormal Haar transform, [batch, n, 2h, 2w] to [batch, 4n, h, w].

    Of each 2x2 window [[a, b], [c, d]] come (a+b+c+d)/2, (a-b+c-d)/2, (a+b-c-d)/2 and (a-b-c+d)/2: the approximation
    of all n channels first, then their three details.
    """
    a, b = x[..., ::2, ::2], x[..., ::2, 1::2]
    c, d = x[..., 1::2, ::2], x[..., 1::2, 1::2]
    return torch.cat([a + b + c + d, a - b + c - d, a + b - c - d, a - b - c + d], 1) / 2


@register(
    "layer",
    "wavemix",
    paper="WaveMix: A Resource-efficient Neural Network for Image Analysis",
    options=Struct(levels=Integer(1, 3)),
)
class WaveMix(nn.Module):
    """U_1([w_1, U_2([w_2, ...])]), where w_l are the Haar bands of level l and U_l a perceptron that doubles the sides.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width]. A 1x1 convolution reduces the
    input to n = max(1, channels_out // 4) channels, level l transforms the approximation of level l-1 to 4n bands of
    half the sides, and from the last level up, U_l is 1x1 to 8n channels, GELU, 1x1 to 4n, and a transposed
    convolution of 4x4 with stride 2, to 2n channels or, at the first level, to channels_out. Sides that 2^levels does
    not divide are padded with 0 at the lower and right border, which is cut off again.

    As in the paper's blocks of several levels, whose output width differs (they also end in batch normalisation and a
    residual connection, which are matters of norm and wiring here) and have dropout after the GELU.
    """

    def __init__(self, channels_in: int, channels_out: int, gain: float = RECTIFIED, *, levels: int = 2) -> None:
        super().__init__()
        if levels < 1:
            raise ValueError(f"levels is {levels}, but a whole number from 1 up is allowed")
        n = max(1, channels_out // 4)
        self.reduce = convolution(channels_in, n, 1, gain=gain)
        self.up = nn.ModuleList(
            _up(4 * n if level == levels else 6 * n, 4 * n, channels_out if level == 1 else 2 * n)
            for level in range(1, levels + 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        whole = 2 ** len(self.up)
        approximation = functional.pad(self.reduce(x), (0, -width % whole, 0, -height % whole))
        bands = []
        for _ in self.up:
            bands.append(haar(approximation))
            approximation = bands[-1][:, : approximation.shape[1]]
        mixed: Tensor = self.up[-1](bands[-1])
        for up, level in zip(reversed(self.up[:-1]), reversed(bands[:-1]), strict=True):
            mixed = up(torch.cat([level, mixed], 1))
        return mixed[..., :height, :width]


def _up(channels_in: int, inside: int, channels_out: int) -> nn.Module:
    enlarge = nn.ConvTranspose2d(inside, channels_out, 4, 2, 1)
    # Each place of the output meets 2x2 of the 4x4 weights.
    nn.init.normal_(enlarge.weight, std=(4 * inside) ** -0.5)
    nn.init.zeros_(enlarge.bias)  # type: ignore[arg-type]
    return nn.Sequential(
        convolution(channels_in, 2 * inside, 1, gain=LINEAR),
        nn.GELU(),
        convolution(2 * inside, inside, 1, gain=GELU),
        enlarge,
    )
