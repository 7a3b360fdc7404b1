"""Learned Fourier series of coordinates, the first layer of FKAN."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import LINEAR
from search_spaces.registry import register
from search_spaces.stems.convolution import image_convolution


class FourierFeaturesKan(nn.Module):
    """y_o = Σ_d Σ_k a_odk·cos(k·x_d) + b_odk·sin(k·x_d), k = 1..frequencies: a KAN layer with Fourier series.

    Shapes: coordinates [..., dimensions] to [..., features]. All coefficients start at N(0, 1/(dimensions·frequencies))
    as in FKAN, so that every feature has variance 1 at any coordinates. The phases are worked out in float32 at least.
    """

    def __init__(self, dimensions: int, features: int, frequencies: int = 16) -> None:
        super().__init__()
        if frequencies < 1:
            raise ValueError(f"frequencies is {frequencies}, but a whole number from 1 up is allowed")
        self.frequencies = frequencies
        deviation = (dimensions * frequencies) ** -0.5
        self.cosines = nn.Parameter(torch.randn(features, dimensions * frequencies) * deviation)
        self.sines = nn.Parameter(torch.randn(features, dimensions * frequencies) * deviation)

    def forward(self, x: Tensor) -> Tensor:
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        numbers = torch.arange(1, self.frequencies + 1, dtype=wide.dtype, device=x.device)
        phases = (wide[..., None] * numbers).flatten(-2)
        cosines, sines = phases.cos().to(self.cosines.dtype), phases.sin().to(self.sines.dtype)
        series: Tensor = cosines @ self.cosines.mT + sines @ self.sines.mT
        return series

    def extra_repr(self) -> str:
        return f"frequencies={self.frequencies}"


@register(
    "stem",
    "fourier_features_kan",
    paper="Implicit Neural Representations with Fourier Kolmogorov-Arnold Networks",
    options=Struct(frequencies=Choice(4, 16)),
)
class FourierFeaturesStem(nn.Module):
    """conv(x) + Σ_d Σ_k a_dk·cos(k·p_d) + b_dk·sin(k·p_d), p in [-1, 1]² the coordinates of each place.

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, ⌈height/stride⌉, ⌈width/stride⌉]. The first
    layer of an implicit representation, FourierFeaturesKan, added to the convolution of the image as a code of the
    position. The corners of the maps lie at (±1, ±1), a map of one place at 0. FKAN's further layers are left out.
    """

    def __init__(
        self, channels_in: int, channels_out: int, stride: int = 1, gain: float = LINEAR, *, frequencies: int = 4
    ) -> None:
        super().__init__()
        self.image = image_convolution(channels_in, channels_out, stride, gain)
        self.position = FourierFeaturesKan(2, channels_out, frequencies)

    def forward(self, x: Tensor) -> Tensor:
        maps: Tensor = self.image(x)
        down, across = (_coordinates(n, x.device) for n in maps.shape[-2:])
        places = torch.stack(torch.meshgrid(down, across, indexing="ij"), -1)
        position: Tensor = self.position(places).permute(2, 0, 1)
        return maps + position.to(maps.dtype)


def _coordinates(count: int, device: torch.device) -> Tensor:
    return (2 * torch.arange(count, device=device) - (count - 1)) / max(1, count - 1)
