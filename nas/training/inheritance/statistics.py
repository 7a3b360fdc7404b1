"""Means and variances of channels that follow from the weights alone, and norms set by them.

After a norm with scale γ and shift β a channel has mean β and variance γ². What linear maps, activations and sums make
of that is worked out as if channels were independent and normal, and alike at all places.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.masks import read
from search_spaces.stems.fourier_features_kan import FourierFeaturesStem

SAMPLES = 512


@dataclass(frozen=True)
class Statistics:
    """The mean and the variance of each channel, [channels] both."""

    mean: Tensor
    variance: Tensor

    @classmethod
    def normal(cls, channels: int) -> Statistics:
        """Return those of standard normal channels."""
        return cls(torch.zeros(channels, dtype=torch.float64), torch.ones(channels, dtype=torch.float64))

    @classmethod
    def of(cls, values: Tensor) -> Statistics:
        """Return those of values [samples, channels, ...]."""
        flat = values.double().transpose(0, 1).flatten(1)
        return cls(flat.mean(1), flat.var(1))

    def sample(self) -> Tensor:
        """Return normal numbers [SAMPLES, channels, 1, 1], the same each time."""
        generator = torch.Generator().manual_seed(0)
        z = torch.randn(SAMPLES, len(self.mean), 1, 1, generator=generator, dtype=torch.float64)
        return self.mean[:, None, None] + self.variance.sqrt()[:, None, None] * z

    def through(self, function: Callable[[Tensor], Tensor]) -> Statistics:
        """Return those of what a function makes of maps [batch, channels, height, width] of one place."""
        with torch.no_grad():
            return Statistics.of(function(self.sample()))

    def plus(self, other: Statistics, share: float = 1.0) -> Statistics:
        """Return those of the sum with so many times another."""
        return Statistics(self.mean + share * other.mean, self.variance + share**2 * other.variance)

    def times(self, count: int) -> Statistics:
        """Return those of the channels so many times in a row."""
        return Statistics(self.mean.repeat(count), self.variance.repeat(count))

    def then(self, other: Statistics) -> Statistics:
        """Return those of the channels and others after them."""
        return Statistics(torch.cat([self.mean, other.mean]), torch.cat([self.variance, other.variance]))

    def spread(self, count: int) -> Statistics:
        """Return those of each channel so many times."""
        return Statistics(self.mean.repeat_interleave(count), self.variance.repeat_interleave(count))

    def grouped(self, groups: int) -> Statistics:
        """Return for each channel the mean and the variance of the group of neighbours that it is in."""
        means, variances = self.mean.view(groups, -1), self.variance.view(groups, -1)
        mean = means.mean(1, keepdim=True)
        variance = (variances + (means - mean).square()).mean(1, keepdim=True)
        return Statistics(mean.expand_as(means).flatten(), variance.expand_as(means).flatten())


def has_scale(norm: nn.Module) -> bool:
    """Tell whether a module is a norm with a scale and a shift for each channel."""
    return isinstance(norm, nn.BatchNorm2d | nn.GroupNorm)


def made(layer: nn.Module) -> Statistics | None:
    """Return the statistics of what a convolution or a stem makes of white inputs; None for another module."""
    if isinstance(layer, FourierFeaturesStem):
        image = made(layer.image)
        assert image is not None
        waves = read(layer.position, "cosines").square() + read(layer.position, "sines").square()
        return Statistics(image.mean, image.variance + waves.sum(1).double() / 2)
    if isinstance(layer, nn.Conv2d) and layer.bias is not None:
        return Statistics(read(layer, "bias").double(), read(layer, "weight").double().square().flatten(1).sum(1))
    return None


def after(layer: nn.Module, norm: nn.Module) -> Statistics | None:
    """Return the statistics of channels after a layer and a norm; None where nothing is known of them."""
    if has_scale(norm):
        return Statistics(read(norm, "bias").double(), read(norm, "weight").double().square())
    return made(layer) if isinstance(norm, nn.Identity) else None


def line(norm: nn.Module, coming: Statistics) -> tuple[Tensor, Tensor]:
    """Return the scale and the shift [channels] that a norm amounts to for inputs of such statistics."""
    if isinstance(norm, nn.Identity):
        return torch.ones_like(coming.mean), torch.zeros_like(coming.mean)
    known = _normalised(norm, coming)
    scale = read(norm, "weight").double() * (known.variance + norm.eps).rsqrt()  # type: ignore[operator]
    return scale, read(norm, "bias").double() - known.mean * scale


@torch.no_grad()
def set_line(norm: nn.Module, coming: Statistics, scale: float = 1.0, shift: float = 0.0) -> None:
    """Set a norm to scale·x + shift: exactly in evaluation if it is batch, else for inputs of such statistics.

    Raises InheritanceError for a module that is no norm with a scale.
    """
    if isinstance(norm, nn.BatchNorm2d):
        set_running(norm, coming)
    elif not isinstance(norm, nn.GroupNorm):
        raise InheritanceError(f"{type(norm).__name__} cannot be set to the identity: take batch, group, layer or none")
    known = coming if isinstance(norm, nn.BatchNorm2d) else coming.grouped(norm.num_groups)
    norm.weight.copy_(scale * (known.variance + norm.eps).sqrt())
    norm.bias.copy_(scale * known.mean + shift)


@torch.no_grad()
def set_running(norm: nn.BatchNorm2d, coming: Statistics) -> None:
    """Set the running statistics of a norm."""
    assert norm.running_mean is not None and norm.running_var is not None
    norm.running_mean.copy_(coming.mean)
    norm.running_var.copy_(coming.variance)


def _normalised(norm: nn.Module, coming: Statistics) -> Statistics:
    """Return the statistics that a norm makes 0 and 1."""
    if isinstance(norm, nn.GroupNorm):
        return coming.grouped(norm.num_groups)
    if isinstance(norm, nn.BatchNorm2d):
        return Statistics(read(norm, "running_mean").double(), read(norm, "running_var").double())
    raise InheritanceError(f"{type(norm).__name__} is no norm that is known here: take batch, group, layer or none")
