"""The three phases of a KAN layer with a `selectable` basis: full training, selection, training of the chosen one."""

from __future__ import annotations

from copy import deepcopy

import torch
from torch import nn

from search_spaces.bases.selectable import Selectable
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.moments import second_moment

SELECTION, CHOSEN = 1 / 3, 2 / 3  # the shares of a training after which the second and the third phase begin
COOLEST = 0.1


@torch.no_grad()
def advance(layer: KanLinear | KanConv2d, progress: float) -> None:
    """Put a layer with a selectable basis where it belongs after a share of its training in [0, 1]."""
    basis = layer.basis
    assert isinstance(basis, Selectable)
    if basis.chosen is None and progress >= SELECTION:
        share = min((progress - SELECTION) / (CHOSEN - SELECTION), 1.0)
        basis.temperature.fill_(COOLEST**share)
        if progress >= CHOSEN:
            basis.choose(int(contributions(layer).argmax()))


@torch.no_grad()
def contributions(layer: KanLinear | KanConv2d) -> torch.Tensor:
    """Return what each candidate adds to the variance of the outputs for standard normal inputs [candidates].

    Its functions are taken as if they were independent of each other.
    """
    basis = layer.basis
    assert isinstance(basis, Selectable)
    weight = _inner(layer).weight
    first = weight.shape[1] * int(layer.expansion.base) // layer.expansion.count
    slabs = torch.unflatten(weight[:, first:], 1, (basis.count, -1)).double().square().transpose(0, 1).flatten(1).sum(1)
    moments = second_moment(deepcopy(basis).cpu())
    return torch.stack([part.sum() for part in torch.split(slabs.cpu() * moments, basis.counts)])


@torch.no_grad()
def prune(layer: KanLinear | KanConv2d) -> KanLinear | KanConv2d:
    """Return a layer with the chosen basis alone that computes the same; raises ValueError before one is chosen."""
    basis = layer.basis
    if not isinstance(basis, Selectable) or basis.chosen is None:
        raise ValueError(
            "only a layer whose selectable basis has chosen can be pruned: train it for three epochs or more"
        )
    weight, bias = _inner(layer).weight, _inner(layer).bias
    channels, base = weight.shape[1] // layer.expansion.count, layer.expansion.base
    alone = deepcopy(basis.bases[basis.chosen]).cpu()
    pruned: KanLinear | KanConv2d
    if isinstance(layer, KanLinear):
        pruned = KanLinear(channels, weight.shape[0], alone, base, bias is not None)
    else:
        pruned = KanConv2d(channels, weight.shape[0], kernel=weight.shape[-1], basis=alone)
    slabs = torch.unflatten(weight, 1, (layer.expansion.count, channels))
    start = int(base) + sum(basis.counts[: basis.chosen])
    kept = torch.cat([slabs[:, : int(base)], slabs[:, start : start + basis.counts[basis.chosen]]], 1)
    _inner(pruned).weight.copy_(kept.flatten(1, 2))
    if bias is not None:
        copied = _inner(pruned).bias
        assert copied is not None
        copied.copy_(bias)
    return pruned.to(weight.device, weight.dtype)


def _inner(layer: KanLinear | KanConv2d) -> nn.Linear | nn.Conv2d:
    return layer.linear if isinstance(layer, KanLinear) else layer.convolution
