"""Wavelets with trainable scale and shift (Wav-KAN; Kolmogorov-Arnold Convolutions)."""

from __future__ import annotations

from collections.abc import Callable
from math import factorial, pi, sqrt

import torch
from torch import Tensor, nn

from search_spaces.bases.placing import along
from search_spaces.bases.positive import above, raw_of
from search_spaces.decisions import Choice, Integer, Struct
from search_spaces.registry import register

SMALLEST_SCALE = 0.1
HAT_NORM: float = 2 / (sqrt(3) * pi**0.25)


def mexican_hat(t: Tensor) -> Tensor:
    """2/(√3·π^¼)·(t² - 1)·exp(-t²/2), with Wav-KAN's sign."""
    square = t.square()
    return HAT_NORM * (square - 1) * (-square / 2).exp()


def morlet(t: Tensor) -> Tensor:
    """cos(5t)·exp(-t²/2), the real part; its mean, 9e-6, is not corrected."""
    return (5 * t).cos() * (-t.square() / 2).exp()


def dog(t: Tensor) -> Tensor:
    """-t·exp(-t²/2), the derivative of a Gaussian."""
    return -t * (-t.square() / 2).exp()


def shannon(t: Tensor) -> Tensor:
    """sin(πt/2)/(πt/2)·cos(3πt/2), the real Shannon wavelet."""
    return _sinc(pi / 2 * t) * (3 * pi / 2 * t).cos()


def _sinc(u: Tensor) -> Tensor:
    """Return sin(u)/u, by its series near 0, where the quotient's gradient is the difference of near-equal numbers."""
    square = u.square()
    near = square < 0.25
    series = sum((square**n * ((-1) ** n / factorial(2 * n + 1)) for n in range(1, 7)), torch.ones_like(u))
    divisor = torch.where(near, 1.0, u)
    return torch.where(near, series, divisor.sin() / divisor)


FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "mexican_hat": mexican_hat,
    "morlet": morlet,
    "dog": dog,
    "shannon": shannon,
}


@register(
    "basis",
    "wavelet",
    paper="Wav-KAN: Wavelet Kolmogorov-Arnold Networks; "
    "Kolmogorov-Arnold Convolutions: Design Principles and Empirical Studies",
    options=Struct(form=Choice(*FORMS), count=Integer(4, 8)),
)
class Wavelet(nn.Module):
    """ψ((x - τ_j)/s_j), ψ one of mexican_hat, morlet, dog and shannon, with trainable scales s_j and shifts τ_j.

    Shapes: [...] to [..., count], the new dimension at `dim`. One bank of `count` wavelets serves all edges of a
    layer, where Wav-KAN has a scale and shift for each edge and so a tensor of [batch, out, in]. The shifts start
    evenly spread from low to high, the scales at 1; a scale is 0.1 + softplus(raw) and cannot reach 0. Far out all
    wavelets fall to 0, shannon as 1/|x|. Wav-KAN's factor 1/√s is left out, as in its code. Its Shannon
    wavelet, a low-pass sinc times a Hamming window over the channels, is not a function of x alone; the
    textbook's is taken. Half precision is worked out in float32.
    """

    def __init__(self, form: str = "mexican_hat", count: int = 8, low: float = -2.0, high: float = 2.0) -> None:
        super().__init__()
        if form not in FORMS:
            raise ValueError(f"no wavelet {form!r}: there are {', '.join(FORMS)}")
        if count < 1 or low > high:
            raise ValueError(f"no {count} wavelets with shifts over [{low:g}, {high:g}]: at least 1 is needed")
        self.form = form
        self.count = count
        self.shift = nn.Parameter(torch.linspace(low, high, count))
        self.raw_scale = nn.Parameter(raw_of(torch.ones(count), SMALLEST_SCALE))

    def forward(self, x: Tensor, dim: int = -1) -> Tensor:
        dtype = torch.promote_types(x.dtype, torch.float32)
        place, shift = along(self.shift.to(dtype), x.ndim, dim)
        _, scale = along(above(self.raw_scale.to(dtype), SMALLEST_SCALE), x.ndim, dim)
        return FORMS[self.form]((x.to(dtype).unsqueeze(place) - shift) / scale).to(x.dtype)

    def extra_repr(self) -> str:
        return f"form={self.form}, count={self.count}"
