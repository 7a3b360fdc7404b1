"""The rules of `widths.follow` for torch's own modules: linear maps, norms, functions of single channels, sequences."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from nas.training.inheritance.axes import Layout, layout
from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.masks import group_size, own, read
from nas.training.inheritance.statistics import Statistics, after
from nas.training.inheritance.widths import Flow, Walk, follow, sized, through

ENTRY = "entry"
TINY = 1e-300
LEAST = 1e-2


@follow.register(nn.Identity)
@follow.register(nn.Dropout)
@follow.register(nn.Flatten)
@follow.register(nn.MaxPool2d)
@follow.register(nn.AvgPool2d)
def _(new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Flow:
    return flow


@follow.register(nn.ReLU)
@follow.register(nn.GELU)
@follow.register(nn.SiLU)
@follow.register(nn.Tanh)
@follow.register(nn.Mish)
@follow.register(nn.Hardswish)
@follow.register(nn.ELU)
@follow.register(nn.Softplus)
def _(new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Flow:
    return through(new, old, flow, walk)


@follow.register
def _(new: nn.Sequential, old: nn.Sequential, flow: Flow, walk: Walk) -> Flow:
    others = dict(old.named_children())
    for name in others.keys() - dict(new.named_children()).keys():
        # A convolution that is gone: the channels before it take the places of those that it made.
        assert flow is not None
        flow = layout(_made(name, others[name]), flow.new)
    for name, child in new.named_children():
        if name not in others:
            raise InheritanceError(f"{name} is in the child alone, and nothing can be in its place")
        flow = walk.through(child, others[name], flow)
    return flow


def _made(name: str, entry: nn.Module) -> int:
    """Return how many channels the convolution makes that begins a part of a network."""
    first = next(entry.children(), None)
    if name != ENTRY or not isinstance(first, nn.Conv2d):
        raise InheritanceError(f"{name} is in the parent alone: a network inherits from one of the same parts")
    return first.out_channels


@follow.register
def _(new: nn.Conv2d, old: nn.Conv2d, flow: Flow, walk: Walk) -> Layout:
    return linear_map(new, old, flow, walk)


@follow.register
def _(new: nn.Linear, old: nn.Linear, flow: Flow, walk: Walk) -> Layout:
    return linear_map(new, old, flow, walk)


@follow.register
def _(new: nn.ConvTranspose2d, old: nn.ConvTranspose2d, flow: Flow, walk: Walk) -> Layout:
    return linear_map(new, old, flow, walk)


def linear_map(
    new: nn.Module,
    old: nn.Module,
    flow: Flow,
    walk: Walk,
    out: Layout | None = None,
    factor: float = 1.0,
    even: float = 0.0,
) -> Layout:
    """Follow channels through a weight [out, in, ...] with a bias, of a transposed convolution [in, out, ...].

    `out` is the layout of its outputs where that is not free. All is multiplied by `factor`, and each output divided by
    the number of its copies to the power `even`. What channels that are gone gave on average goes to the bias.
    """
    rows, columns = (1, 0) if isinstance(new, nn.ConvTranspose2d) else (0, 1)
    theirs, mine = read(old, "weight"), read(new, "weight")
    if max(getattr(layer, "groups", 1) for layer in (new, old)) > 1:
        return _depthwise(new, old, flow, walk)
    coming = sized(flow, theirs.shape[columns], mine.shape[columns])
    out = out or layout(theirs.shape[rows], mine.shape[rows])
    for axis in coming.axes:
        axis.root().units.add(group_size(new, "weight"))
    weight = theirs.movedim(rows, 0).flatten(2) if theirs.ndim > 2 else theirs[..., None]
    total, square = weight.sum(2), weight.square().sum(2)
    energy = square.sum(0) * coming.statistics.variance
    coming.use(energy / energy.sum().clamp(min=TINY))

    def mended(bias: Tensor) -> Tensor:
        return bias + total @ (coming.statistics.mean * coming.gone())

    def kept() -> Tensor:
        variances = square * coming.statistics.variance
        left = 1 - variances @ coming.gone() / variances.sum(1).clamp(min=TINY)
        return torch.where(left < LEAST, 1.0, left)

    spread = {rows: even} if even else {}
    walk.keep(new, old, "weight", {rows: out, columns: coming}, columns, spread, factor)
    walk.keep(new, old, "bias", {0: out}, None, {0: even} if even else {}, factor, mended)
    given = read(old, "bias") if old.bias is not None else torch.zeros(len(total), dtype=total.dtype)
    made = Statistics(total @ coming.statistics.mean + given, square @ coming.statistics.variance)
    return out.looking(made, kept)


def _depthwise(new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Layout:
    """Follow channels through a convolution of each by itself."""
    theirs, mine = read(old, "weight"), read(new, "weight")
    if theirs.shape[1] > 1 or mine.shape[1] > 1:
        raise InheritanceError("a convolution in groups of several channels has no rule: keep this width")
    flow = sized(flow, len(theirs), len(mine))
    walk.keep(new, old, "weight", {0: flow})
    walk.keep(new, old, "bias", {0: flow})
    taps, seen = theirs.flatten(1), flow.statistics
    mean = taps.sum(1) * seen.mean + (read(old, "bias") if old.bias is not None else 0)
    return flow.looking(Statistics(mean, taps.square().sum(1) * seen.variance))


@follow.register
def _(new: nn.BatchNorm2d, old: nn.BatchNorm2d, flow: Flow, walk: Walk) -> Layout:
    return per_channel(new, old, sized(flow, old.num_features, new.num_features), walk)


@follow.register
def _(new: nn.GroupNorm, old: nn.GroupNorm, flow: Flow, walk: Walk) -> Layout:
    flow = sized(flow, old.num_channels, new.num_channels)
    in_groups(flow, old.num_groups, new.num_groups)
    return per_channel(new, old, flow, walk)


def per_channel(new: nn.Module, old: nn.Module, flow: Layout, walk: Walk) -> Layout:
    """Follow channels through a norm, all of whose tensors are [channels]."""
    for name in own(new):
        if read(new, name).ndim:
            walk.keep(new, old, name, {0: flow}, mended=_shrunk(flow) if name == "running_var" else None)
    known = after(nn.Identity(), old)
    return flow.looking(known or Statistics.normal(flow.old))


def _shrunk(flow: Layout) -> Callable[[Tensor], Tensor] | None:
    """Return what running variances become when some of the channels are gone that they are made of."""
    kept = flow.kept
    return kept and (lambda variance: variance * kept())


def in_groups(flow: Layout, old: int, new: int) -> None:
    """Note that channels are taken together in so many groups."""
    if len(flow.axes) == 1 and old == new:
        flow.axes[0].root().parts.add(old)
