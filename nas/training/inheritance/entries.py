"""The convolution with which a stage begins where its width or stride asks for one: in one of two networks alone.

Where the child alone has it, it starts as the identity, exact in evaluation where its norm is batch or none. Where the
parent alone has it and only the stem goes before it, the two are worked into one convolution, of the stem's size: taps
beyond its border go to the border, as if neighbouring pixels were alike. That is near the parent's function, not equal
to it. After another stage it is left out, and of the parent's function less remains.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from copy import deepcopy
from typing import Any, cast

import torch
from torch import Tensor, nn

from nas.training.inheritance.basics import ENTRY
from nas.training.inheritance.masks import read
from nas.training.inheritance.statistics import (
    Statistics,
    after,
    has_scale,
    line,
    made,
    set_line,
    set_running,
)
from search_spaces.registry import make
from search_spaces.stems.fourier_features_kan import FourierFeaturesStem


@torch.no_grad()
def align(child: Any, parent: Any, channels: Mapping[str, int]) -> None:
    """Change the parent so that its stages begin with a convolution where the child's do, as far as that goes.

    `channels` says how many come to each module of the parent. Networks that are not a stem of a layer and a norm and a
    Sequential of stages are left as they are.
    """
    stem = getattr(parent, "stem", None)
    if not (isinstance(stem, nn.Sequential) and len(stem) == 2 and isinstance(child.stages, nn.Sequential)):
        return
    for name, new in child.stages.named_children():
        old = getattr(parent.stages, name)
        mine, theirs = getattr(new, ENTRY, None), getattr(old, ENTRY, None)
        first = name == next(iter(child.stages._modules))
        if mine is not None and theirs is None:
            width = channels[f"stages.{name}"]
            known = after(*stem) if first else None
            entry = identity(mine, known or Statistics.normal(width), width)
            setattr(parent.stages, name, nn.Sequential(OrderedDict([(ENTRY, entry), *old.named_children()])))
        elif mine is None and theirs is not None and first and _image(stem[0]) is not None:
            parent.stem = folded(stem, theirs, child.stem[1])
            delattr(old, ENTRY)


def identity(like: nn.Module, coming: Statistics, width: int) -> nn.Sequential:
    """Return a convolution of 3 by 3 and a norm of the kind of another entry's that hand on `width` channels."""
    convolution = nn.Conv2d(width, width, 3, padding=1, dtype=torch.float64)
    nn.init.dirac_(convolution.weight)
    nn.init.zeros_(cast(Tensor, convolution.bias))
    norm = _norm(cast(nn.Sequential, like)[1], width).double()
    if has_scale(norm):
        set_line(norm, coming)
    return nn.Sequential(convolution, norm)


def folded(stem: nn.Sequential, entry: nn.Sequential, like: nn.Module) -> nn.Sequential:
    """Return a stem that does what a stem and an entry after it do, with a norm of the kind of `like`."""
    coming, convolution = made(stem[0]), cast(nn.Conv2d, entry[0])
    assert coming is not None
    layer = _composed(stem[0], *line(stem[1], coming), convolution)
    norm = _norm(like, convolution.out_channels).double()
    raw = made(layer)
    assert raw is not None
    if isinstance(entry[1], nn.BatchNorm2d):
        raw = Statistics(read(entry[1], "running_mean"), read(entry[1], "running_var"))
    if has_scale(norm) and has_scale(entry[1]):
        _taken_over(norm, entry[1], raw)
    elif has_scale(norm):
        set_line(norm, raw)
    elif has_scale(entry[1]):
        _worked_in(layer, *line(entry[1], raw))
    return nn.Sequential(layer, norm)


def _taken_over(norm: Any, other: Any, coming: Statistics) -> None:
    norm.weight.copy_(other.weight)
    norm.bias.copy_(other.bias)
    if isinstance(norm, nn.BatchNorm2d):
        set_running(norm, coming)


def _worked_in(layer: nn.Module, scale: Tensor, shift: Tensor) -> None:
    """Let a stem make scale·x + shift of what it made."""
    image: Any = _image(layer)
    image.weight.mul_(scale[:, None, None, None])
    image.bias.mul_(scale).add_(shift)
    if isinstance(layer, FourierFeaturesStem):
        for waves in (layer.position.cosines, layer.position.sines):
            waves.mul_(scale[:, None])


def _composed(stem: nn.Module, scale: Tensor, shift: Tensor, entry: nn.Conv2d) -> nn.Module:
    """Return a stem that does what stem, scale and shift and a convolution of stride 1 after it do, but at borders."""
    layer = deepcopy(stem)
    image: Any = _image(layer)
    taps = read(entry, "weight")
    overall = taps.sum((2, 3))
    weight = scale[:, None, None, None] * read(image, "weight")
    bias = overall @ (scale * read(image, "bias") + shift) + read(entry, "bias")
    image.weight = nn.Parameter(_convolved(taps, weight, image.stride[0]))
    image.bias = nn.Parameter(bias)
    image.out_channels = len(bias)
    if isinstance(layer, FourierFeaturesStem):
        for name in ("cosines", "sines"):
            waves = scale[:, None] * read(layer.position, name)
            setattr(layer.position, name, nn.Parameter(overall @ waves))
    return layer


def _convolved(outer: Tensor, inner: Tensor, stride: int) -> Tensor:
    """Return the kernel [out, in, k, k] of `inner` [middle, in, k, k] and `outer` [out, middle, 3, 3] after it."""
    reach = inner.shape[-1] // 2
    places = torch.arange(-reach, reach + 1)
    whole = inner.new_zeros(len(outer), *inner.shape[1:])
    for down in range(outer.shape[2]):
        for across in range(outer.shape[3]):
            part = torch.einsum("om,mchw->ochw", outer[:, :, down, across], inner)
            for dim, tap in ((2, down), (3, across)):
                there = (places + stride * (tap - outer.shape[dim] // 2)).clamp(-reach, reach) + reach
                part = torch.zeros_like(part).index_add(dim, there, part)
            whole += part
    return whole


def _image(stem: nn.Module) -> nn.Conv2d | None:
    """Return the convolution of the image in a stem."""
    layer = stem.image if isinstance(stem, FourierFeaturesStem) else stem
    return layer if isinstance(layer, nn.Conv2d) else None


def _norm(like: Any, width: int) -> nn.Module:
    made_norm: nn.Module = make("norm", like.made_as[1], width)
    return made_norm
