"""The rules of `widths.follow` for the layers, stems, pools, heads and wirings of ours."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import nn

from nas.training.inheritance.axes import Axis, Layout, layout
from nas.training.inheritance.basics import linear_map
from nas.training.inheritance.statistics import Statistics, made
from nas.training.inheritance.widths import Flow, Walk, follow, sized
from search_spaces.heads.grassmann_head import GrassmannHead
from search_spaces.layers.ckconv import CKConv
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.kan_attention import KanAttention
from search_spaces.layers.mbconv import SqueezeExcitation
from search_spaces.layers.mlp_kan_moe import MlpKanMoe
from search_spaces.layers.subsampled_attention import SubsampledAttention
from search_spaces.layers.wavemix import WaveMix
from search_spaces.pools.average import Average
from search_spaces.pools.hopfield_pool import HopfieldPool
from search_spaces.stems.fourier_features_kan import FourierFeaturesStem
from search_spaces.wirings.dense import Dense
from search_spaces.wirings.residual import Residual, ReZero


@follow.register
def _(new: Residual, old: Residual, flow: Flow, walk: Walk) -> Flow:
    return _added(new.body, old.body, 1.0, flow, walk)


@follow.register
def _(new: ReZero, old: ReZero, flow: Flow, walk: Walk) -> Flow:
    return _added(new.body, old.body, old.alpha.item(), flow, walk)


def _added(new: nn.Module, old: nn.Module, share: float, flow: Flow, walk: Walk) -> Flow:
    out = walk.through(new, old, flow)
    if flow is None or out is None:
        return out or flow
    flow.join(out)
    return flow.looking(flow.statistics.plus(out.statistics, share))


@follow.register
def _(new: Dense, old: Dense, flow: Flow, walk: Walk) -> Flow:
    width = old.mix.weight.shape[0], new.mix.weight.shape[0]
    flow = sized(flow, *width)
    out = sized(walk.through(new.body, old.body, flow), *width)
    return linear_map(new.mix, old.mix, flow.then(out), walk)


@follow.register
def _(new: KanConv2d, old: KanConv2d, flow: Flow, walk: Walk) -> Layout:
    return _expanded(old, new.convolution, old.convolution, flow, walk)


@follow.register
def _(new: KanLinear, old: KanLinear, flow: Flow, walk: Walk) -> Layout:
    return _expanded(old, new.linear, old.linear, flow, walk)


def _expanded(theirs: KanConv2d | KanLinear, new: nn.Module, old: nn.Module, flow: Flow, walk: Walk) -> Layout:
    """Follow channels through the functions of a basis, which come one after the other, each of all channels."""
    expansion = theirs.expansion
    sizes = (cast(Any, inner).weight.shape[1] // expansion.count for inner in (old, new))
    coming = sized(flow, *sizes)
    statistics = coming.statistics.through(lambda x: expansion(x, 1).flatten(1, 2))
    return linear_map(new, old, coming.times(expansion.count).looking(statistics), walk)


@follow.register
def _(new: SqueezeExcitation, old: SqueezeExcitation, flow: Flow, walk: Walk) -> Flow:
    inside = linear_map(new.weigh[0], old.weigh[0], flow, walk)
    linear_map(new.weigh[2], old.weigh[2], walk.through(new.weigh[1], old.weigh[1], inside), walk, flow)
    return flow


@follow.register
def _(new: CKConv, old: CKConv, flow: Flow, walk: Walk) -> Flow:
    flow = sized(flow, len(old.level), len(new.level))
    walk.keep(new, old, "level", {0: flow})
    walk.keep(new.network.last, old.network.last, "weight", {0: flow})
    return walk.through(new.mix, old.mix, flow.looking(Statistics.normal(flow.old)))


@follow.register(KanAttention)
@follow.register(SubsampledAttention)
def _(new: KanAttention | SubsampledAttention, old: KanAttention | SubsampledAttention, flow: Flow, walk: Walk) -> Flow:
    """Queries are larger by the root of how much larger a head is, and copies share the keys.

    So Σ_d q_d·k_d/√size stays what it was.
    """
    sizes = (layer.query.weight.shape[0] // layer.heads for layer in (old, new))
    before, after = sizes
    matched, valued = (_heads(new.heads, before, after) for _ in range(2))
    linear_map(new.query, old.query, flow, walk, matched, factor=(after / before) ** 0.5)
    linear_map(new.key, old.key, flow, walk, matched, even=1.0)
    return linear_map(new.mix, old.mix, linear_map(new.value, old.value, flow, walk, valued), walk)


def _heads(heads: int, before: int, after: int) -> Layout:
    return Layout(tuple(Axis(before, after) for _ in range(heads)), Statistics.normal(heads * before))


@follow.register
def _(new: MlpKanMoe, old: MlpKanMoe, flow: Flow, walk: Walk) -> Flow:
    walk.through(new.router, old.router, flow)
    outs = [walk.through(mine, theirs, flow) for mine, theirs in zip(new.experts, old.experts, strict=True)]
    first, *others = (out for out in outs if out is not None)
    for other in others:
        first.join(other)
    return first


@follow.register
def _(new: WaveMix, old: WaveMix, flow: Flow, walk: Walk) -> Flow:
    """The four bands of a level have the channels of what was reduced each, and then come those from below."""
    reduced = linear_map(new.reduce, old.reduce, flow, walk)
    out: Flow = None
    for level in reversed(range(len(new.up))):
        # The approximation is twice the mean of the places, at each level, and the details are 0 on average.
        mean, none = 2.0 ** (level + 1) * reduced.statistics.mean, torch.zeros_like(reduced.statistics.mean)
        variance = reduced.statistics.variance
        bands = reduced.times(4).looking(Statistics(torch.cat([mean, none, none, none]), variance.repeat(4)))
        out = walk.through(new.up[level], old.up[level], bands if out is None else bands.then(out))
    return out


@follow.register
def _(new: FourierFeaturesStem, old: FourierFeaturesStem, flow: Flow, walk: Walk) -> Flow:
    out = linear_map(new.image, old.image, flow, walk)
    for name in ("cosines", "sines"):
        walk.keep(new.position, old.position, name, {0: out})
    return out.looking(made(old) or out.statistics)


@follow.register
def _(new: Average, old: Average, flow: Flow, walk: Walk) -> Flow:
    return None if flow is None else sized(flow, old.out_features, new.out_features)


@follow.register
def _(new: HopfieldPool, old: HopfieldPool, flow: Flow, walk: Walk) -> Layout:
    matched = layout(old.key.weight.shape[0], new.key.weight.shape[0])
    walk.keep(new, old, "queries", {1: matched}, even={1: 1.0}, factor=old.beta / new.beta)
    linear_map(new.key, old.key, flow, walk, matched)
    return linear_map(new.value, old.value, flow, walk).times(len(new.queries))


@follow.register
def _(new: GrassmannHead, old: GrassmannHead, flow: Flow, walk: Walk) -> Flow:
    flow = sized(flow, old.free.shape[1], new.free.shape[1])
    walk.keep(new, old, "free", {1: flow})
    return None
