"""Convolutions whose kernel is a small network of the relative position (CKConv)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.decisions import Choice, Struct
from search_spaces.layers.convolution import LINEAR, RECTIFIED, convolution
from search_spaces.registry import register

GLOBAL = "global"
OMEGA = {False: 10.0, True: 30.0}


class KernelNetwork(nn.Module):
    """V·sin(W·sin(omega·U·p + a) + b), from positions p [..., 2] in [-1, 1]² to values [..., channels].

    U starts in U(-1, 1), W in U(-√(6/hidden), √(6/hidden)), the phases a, b in U(-π, π) and V at N(0, 3·gain/hidden),
    which gives the values a variance of about `gain` around their mean over the square.
    """

    def __init__(self, channels: int, hidden: int, omega: float, gain: float) -> None:
        super().__init__()
        self.omega = omega
        self.first = nn.Linear(2, hidden)
        self.second = nn.Linear(hidden, hidden)
        self.last = nn.Linear(hidden, channels, bias=False)
        nn.init.uniform_(self.first.weight, -1, 1)
        nn.init.uniform_(self.second.weight, -((6 / hidden) ** 0.5), (6 / hidden) ** 0.5)
        for layer in (self.first, self.second):
            nn.init.uniform_(layer.bias, -math.pi, math.pi)
        nn.init.normal_(self.last.weight, std=(3 * gain / hidden) ** 0.5)

    def forward(self, positions: Tensor) -> Tensor:
        # Not a matrix product, for in half precision the phases of large omega would be lost.
        phases = (self.omega * positions[..., None, :] * self.first.weight.float()).sum(-1) + self.first.bias.float()
        waves = phases.sin().to(self.second.weight.dtype)
        values: Tensor = self.last(self.second(waves).sin())
        return values

    def extra_repr(self) -> str:
        return f"omega={self.omega:g}"


@register(
    "layer",
    "ckconv",
    paper="CKConv: Continuous Kernel Convolution For Sequential Data",
    options=Struct(kernel=Choice(7, GLOBAL)),
)
class CKConv(nn.Module):
    """y = M·(x ⋆ ψ(p)): every channel's kernel is a small network ψ of the relative position p in [-1, 1]².

    Shapes: [batch, channels_in, height, width] to [batch, channels_out, height, width], padded with 0. `kernel` is an
    odd number of places, or "global": then the kernel spans 2·height-1 by 2·width-1 places, so that every place sees
    all others, and is applied by Fourier transform in float32. The parameters do not depend on it. ψ has two hidden
    layers of sines (SIREN, as in the paper), `hidden` wide; omega, the highest frequency at the start in radians from
    centre to border, is tuned for each task in the paper; here it is 10, or 30 if global, unless given.

    The kernel is divided by the root of the places that it covers (those of the map if global), which keeps the
    variance for any size. Taken from the later CCNN of the same authors instead of CKConv: a kernel for each channel
    and a 1x1 convolution M after it, in place of a kernel for each pair of channels; and images in place of causal
    sequences.
    """

    def __init__(
        self,
        channels_in: int,
        channels_out: int,
        gain: float = RECTIFIED,
        *,
        kernel: int | str = 7,
        hidden: int = 16,
        omega: float | None = None,
    ) -> None:
        super().__init__()
        if kernel != GLOBAL and (isinstance(kernel, str) or kernel < 1 or kernel % 2 == 0):
            raise ValueError(f"kernel is {kernel}, but an odd number of places from 1 up or 'global' is allowed")
        omega = OMEGA[kernel == GLOBAL] if omega is None else omega
        if hidden < 1 or omega <= 0:
            raise ValueError(f"hidden and omega are {hidden} and {omega:g}, but numbers above 0 are allowed")
        self.kernel = kernel
        self.network = KernelNetwork(channels_in, hidden, omega, gain)
        self.level = nn.Parameter(torch.randn(channels_in) * gain**0.5)
        self.mix = convolution(channels_in, channels_out, 1, gain=LINEAR)

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.mix(self._everywhere(x) if isinstance(self.kernel, str) else self._within(x, self.kernel))
        return mixed

    def weights(self, rows: int, columns: int, places: int, device: torch.device) -> Tensor:
        """Return the kernel [channels_in, rows, columns], of odd sides, that covers a number of places."""
        down, across = (torch.arange(n, device=device) - n // 2 for n in (rows, columns))
        grid = torch.meshgrid(down / max(1, rows // 2), across / max(1, columns // 2), indexing="ij")
        values: Tensor = self.network(torch.stack(grid, -1)).permute(2, 0, 1)
        kernel: Tensor = (values - values.mean((1, 2), keepdim=True)) / places**0.5
        return kernel + self.level[:, None, None] / places

    def _within(self, x: Tensor, side: int) -> Tensor:
        kernel = self.weights(side, side, side**2, x.device)[:, None]
        return functional.conv2d(x, kernel.to(x.dtype), padding=side // 2, groups=x.shape[1])

    def _everywhere(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        size = (2 * height - 1, 2 * width - 1)
        kernel = self.weights(*size, height * width, x.device).float()
        # The centre goes to index 0: differences of places, taken modulo 2n-1, then stay apart.
        turned = torch.fft.rfft2(kernel.roll((1 - height, 1 - width), (1, 2))).conj()
        product = torch.fft.rfft2(x.float(), s=size) * turned
        seen: Tensor = torch.fft.irfft2(product, s=size)
        return seen[..., :height, :width].to(x.dtype)

    def extra_repr(self) -> str:
        return f"kernel={self.kernel}"
