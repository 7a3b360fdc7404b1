"""New blocks that add nothing at first, and still learn from the first step or the second.

What is added to its input, x + F(x), starts with F = 0: the scale of F's norm is 0, or where it has none the weights of
its last linear map, so that the activation sees one number p everywhere; p is such that f(p) = 0 and f has a slope
there. Right above 0 that holds for most; a relu at 0 itself would be dead. Where the values are 0 only up to a kink, p
lies 1e-6 beyond it; softplus, which is 0 nowhere, and the like have the p of the least value with a slope of 0.02
(softplus: 0.02 is added). Activations that normalise have a scale of their own, which is 0 instead.
"""

from __future__ import annotations

from functools import singledispatch

import torch
from torch import Tensor, nn

from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.masks import read, write
from nas.training.inheritance.statistics import has_scale
from search_spaces.activations.cauchy import Cauchy
from search_spaces.activations.evonorm import EvoNormB0, EvoNormS0
from search_spaces.activations.polynomial import PolyNorm
from search_spaces.layers.ckconv import CKConv
from search_spaces.layers.kan import KanConv2d
from search_spaces.layers.kan_attention import KanAttention
from search_spaces.layers.mlp_kan_moe import MlpKanMoe
from search_spaces.layers.subsampled_attention import SubsampledAttention
from search_spaces.layers.wavemix import WaveMix

ABOVE = 1e-20
LEAST_SLOPE = 0.02
BEYOND = 1e-6
SCALES: dict[type[nn.Module], tuple[str, ...]] = {
    Cauchy: ("scales",),
    EvoNormB0: ("gamma", "beta"),
    EvoNormS0: ("gamma", "beta"),
    PolyNorm: ("weights", "bias"),
}


@torch.no_grad()
def rest(body: nn.Module, channels: int) -> float:
    """Let a layer, a norm and an activation in a row come to 0, and return the number that is left at most.

    Raises InheritanceError for another body.
    """
    if not (isinstance(body, nn.Sequential) and len(body) == 3):
        raise InheritanceError(f"{type(body).__name__} is no layer, norm and activation in a row: keep this depth")
    layer, norm, activation = body
    if type(activation) in SCALES:
        for name in SCALES[type(activation)]:
            getattr(activation, name).zero_()
        return 0.0
    place, left = resting_place(activation, channels)
    for linear in [norm] if has_scale(norm) else last(layer):
        write(linear, "weight", torch.zeros_like(read(linear, "weight")))
        write(linear, "bias", torch.full_like(read(linear, "bias"), place))
    return left


def resting_place(activation: nn.Module, channels: int) -> tuple[float, float]:
    """Return where an activation is as near to 0 as it can be with a slope, and its greatest magnitude there."""
    values, slopes = _seen(activation, torch.tensor([ABOVE], dtype=torch.float64), channels)
    if values.abs() <= BEYOND**2 and slopes.abs() >= LEAST_SLOPE:
        return ABOVE, float(values.abs())
    points = torch.linspace(-6, 6, 1201, dtype=torch.float64)
    values, slopes = _seen(activation, points, channels)
    sloped = slopes.abs() >= LEAST_SLOPE
    best = int(torch.where(sloped, values.abs(), torch.inf).argmin())
    place = _refined(activation, channels, points, values, best)
    return place, float(_seen(activation, torch.tensor([place], dtype=torch.float64), channels)[0].abs())


def _refined(activation: nn.Module, channels: int, points: Tensor, values: Tensor, best: int) -> float:
    """Halve the step between the best point and the neighbour where the value is nearer to 0 or of the other sign."""
    sign = float(values[best].sign())
    neighbours = [i for i in (best - 1, best + 1) if 0 <= i < len(points)]
    other = min(neighbours, key=lambda i: float(values[i]) * sign)
    near, far, kink = float(points[best]), float(points[other]), False
    for _ in range(50):
        middle = (near + far) / 2
        value, slope = _seen(activation, torch.tensor([middle], dtype=torch.float64), channels)
        flat = float(slope.abs()) < LEAST_SLOPE
        near, far = (near, middle) if flat or float(value) * sign <= 0 else (middle, far)
        kink = kink or flat
    return near + (BEYOND if near > far else -BEYOND) * kink


def _seen(activation: nn.Module, points: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return values and slopes [points] of an activation whose channels all see the same number."""
    with torch.enable_grad():
        x = points[:, None, None, None].expand(-1, channels, 1, 1).clone().requires_grad_(True)
        y = activation(x)
        (slopes,) = torch.autograd.grad(y.sum(), x)
    values: Tensor = y.detach()[:, :, 0, 0]
    greatest = values.gather(1, values.abs().argmax(1, keepdim=True))[:, 0]
    return greatest, slopes.detach().sum((1, 2, 3)) / channels


@singledispatch
def last(layer: nn.Module) -> list[nn.Module]:
    """Return the linear maps whose outputs a layer's are; packages that add layers say theirs with `last.register`."""
    raise InheritanceError(
        f"{type(layer).__name__} has no rule for new blocks: keep this depth, "
        "or add a rule with nas.training.inheritance.resting.last.register"
    )


@last.register
def _(layer: nn.Conv2d) -> list[nn.Module]:
    return [layer]


@last.register
def _(layer: nn.ConvTranspose2d) -> list[nn.Module]:
    return [layer]


@last.register
def _(layer: nn.Sequential) -> list[nn.Module]:
    return last(layer[-1])


@last.register
def _(layer: KanConv2d) -> list[nn.Module]:
    return [layer.convolution]


@last.register(CKConv)
@last.register(KanAttention)
@last.register(SubsampledAttention)
def _(layer: CKConv | KanAttention | SubsampledAttention) -> list[nn.Module]:
    return [layer.mix]


@last.register
def _(layer: MlpKanMoe) -> list[nn.Module]:
    return [linear for expert in layer.experts for linear in last(expert)]


@last.register
def _(layer: WaveMix) -> list[nn.Module]:
    return last(layer.up[0])
