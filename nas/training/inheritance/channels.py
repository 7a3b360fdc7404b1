"""The rules of `widths.follow` for activations that take channels together."""

from __future__ import annotations

from torch import nn

from nas.training.inheritance.axes import Layout
from nas.training.inheritance.basics import in_groups
from nas.training.inheritance.pieces import Groups
from nas.training.inheritance.widths import Flow, Walk, channelwise, follow, through
from search_spaces.activations.evonorm import EvoNormS0
from search_spaces.activations.gdn import GDN
from search_spaces.activations.product_gate import ProductGate
from search_spaces.activations.rational import Rational
from search_spaces.activations.sorting import GroupSort


@follow.register(GroupSort)
@follow.register(ProductGate)
def _(new: GroupSort | ProductGate, old: nn.Module, flow: Flow, walk: Walk) -> Flow:
    for axis in flow.axes if flow else ():
        axis.root().units.add(new.size)
    return channelwise(new, old, flow, walk)


@follow.register
def _(new: EvoNormS0, old: EvoNormS0, flow: Flow, walk: Walk) -> Flow:
    if flow:
        in_groups(flow, old.groups, new.groups)
    return channelwise(new, old, flow, walk)


@follow.register
def _(new: GDN, old: GDN, flow: Flow, walk: Walk) -> Flow:
    if flow:
        walk.keep(new, old, "beta_root", {0: flow})
        walk.keep(new, old, "gamma_root", {0: flow, 1: flow}, even={1: 0.5})
    return through(new, old, flow, walk)


@follow.register
def _(new: Rational, old: Rational, flow: Flow, walk: Walk) -> Flow:
    if flow:
        in_groups(flow, old.groups, new.groups)
        groups: Layout | Groups = Groups(flow, old.groups, new.groups)
        if old.groups != new.groups:
            for name in ("numerator", "denominator"):
                walk.keep(new, old, name, {0: groups})
    return through(new, old, flow, walk)
