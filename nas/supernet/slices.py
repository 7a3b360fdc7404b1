"""Which part of a wide parameter a narrower network uses.

A narrower dimension is the leading part of the wide one, or, where it is made of slabs (the functions of a basis, the
heads of an attention, a concatenation), the leading part of every slab.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import singledispatch

import torch
from torch import Tensor, nn

from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.kan_attention import KanAttention
from search_spaces.layers.subsampled_attention import SubsampledAttention
from search_spaces.layers.wavemix import WaveMix
from search_spaces.pools.hopfield_pool import HopfieldPool
from search_spaces.wirings.dense import Dense

Slabs = Mapping[str, Mapping[int, int]]


@singledispatch
def slabs(module: nn.Module) -> Slabs:
    """Return which dimensions of a module's parameters, by the names they have in it, come in how many slabs.

    What is not named is one slab. Packages that add components say theirs with `slabs.register`.
    """
    return {}


@slabs.register
def _(module: KanConv2d) -> Slabs:
    return {"convolution.weight": {1: module.expansion.count}}


@slabs.register
def _(module: KanLinear) -> Slabs:
    return {"linear.weight": {1: module.expansion.count}}


@slabs.register
def _(module: Dense) -> Slabs:
    return {"mix.weight": {1: 2}}


@slabs.register(KanAttention)
@slabs.register(SubsampledAttention)
def _(module: KanAttention | SubsampledAttention) -> Slabs:
    inside = {f"{part}.{kind}": {0: module.heads} for part in ("query", "key", "value") for kind in ("weight", "bias")}
    return inside | {"mix.weight": {1: module.heads}}


@slabs.register
def _(module: WaveMix) -> Slabs:
    """The bands of a level are slabs, and what comes up from the level below counts as two of them."""
    last = len(module.up) - 1
    into = {f"up.{i}.0.weight": {1: 4 if i == last else 6} for i in range(last + 1)}
    up = {f"up.{i}.3.{kind}": {dim: 2} for i in range(1, last + 1) for kind, dim in (("weight", 1), ("bias", 0))}
    return into | up


@slabs.register
def _(module: nn.Sequential) -> Slabs:
    """What follows a pool of several queries gets a slab of features for each."""
    found: dict[str, Mapping[int, int]] = {}
    queries = 1
    for name, child in module.named_children():
        if queries > 1:
            found |= {f"{name}.{inner}": {1: queries} for inner, p in child.named_parameters() if p.ndim > 1}
        if isinstance(child, HopfieldPool):
            queries = len(child.queries)
    return found


def fits(full: Sequence[int], shape: Sequence[int], counts: Sequence[int]) -> bool:
    """Tell whether a parameter of `shape`, its dimensions in `counts` slabs, is part of one of the shape `full`."""
    return len(full) == len(shape) and all(
        narrow <= wide and wide % count == 0 and narrow % count == 0
        for wide, narrow, count in zip(full, shape, counts, strict=True)
    )


def window(full: Tensor, shape: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Return the part of a tensor that a parameter of `shape` uses, as a view in which slabs are a dimension."""
    for dim in reversed(range(full.ndim)):
        if full.shape[dim] == shape[dim]:
            continue
        if counts[dim] == 1:
            full = full.narrow(dim, 0, shape[dim])
        else:
            full = torch.unflatten(full, dim, (counts[dim], -1)).narrow(dim + 1, 0, shape[dim] // counts[dim])
    return full


def cut(full: Tensor, shape: Sequence[int], counts: Sequence[int]) -> Tensor:
    """Return the slice of a bank tensor that a parameter of `shape` is; gradients flow back into it."""
    # Strided weights would take other kernels, which round otherwise than those of the network by itself.
    return window(full, shape, counts).reshape(tuple(shape)).contiguous()


def paste(part: Tensor, full: Tensor, counts: Sequence[int]) -> None:
    """Write a narrow parameter into its place in a wide tensor."""
    place = window(full, part.shape, counts)
    place.copy_(part.reshape(place.shape))
