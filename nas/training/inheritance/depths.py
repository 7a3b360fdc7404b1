"""Depths: the blocks that two networks of the same widths have in common are copied, new ones do nothing at first.

A new block in a residual or rezero wiring adds 0 (see `resting` for where that is not exact) and in a dense one
hands on its input, exactly. In a plain wiring it is as near to the identity as `identities` can make it; where that is
not near, it starts with fresh weights and a warning says so. Blocks that are gone are the last ones.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from copy import deepcopy
from functools import cache

import torch
from torch import nn

from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.identities import TOLERANCE, become_identity
from nas.training.inheritance.masks import own, transfer, write
from nas.training.inheritance.resting import rest
from nas.training.seeding import seeded
from search_spaces.decisions import Architecture, canonical
from search_spaces.layers.convolution import LINEAR
from search_spaces.registry import make
from search_spaces.wirings.dense import Dense
from search_spaces.wirings.residual import Residual, ReZero

log = logging.getLogger(__name__)
NEGLIGIBLE = 0.1
NARROW = 8
WORTH_SAYING = 1e-3


def deepen(child: nn.Module, parent: nn.Module, channels: Mapping[str, int]) -> None:
    """Give the child what it has in common with the parent, and let its new blocks do nothing.

    `channels` says how many come to each module of the child.
    """
    _carry(child, parent, "", channels)


def _carry(child: nn.Module, parent: nn.Module, place: str, channels: Mapping[str, int]) -> None:
    for name in own(child):
        transfer(child, parent, name)
    others = dict(parent.named_children())
    before: nn.Module | None = None
    for name, module in child.named_children():
        here = f"{place}.{name}" if place else name
        if name in others:
            _carry(module, others[name], here, channels)
        elif before is None:
            raise InheritanceError(f"{here} is in the child alone, and no block before it: keep this depth")
        else:
            begin(module, before, here, channels[here])
        before = module


@torch.no_grad()
def begin(block: nn.Module, before: nn.Module, place: str, channels: int) -> None:
    """Let a new block do nothing after the one before it; both have the same wiring."""
    if isinstance(block, ReZero):
        block.alpha.zero_()
    elif isinstance(block, Residual):
        left = rest(block.body, channels)
        if left > WORTH_SAYING:
            log.warning("%s adds %.2g at first, for its activation is 0 nowhere where it has a slope", place, left)
    elif isinstance(block, Dense):
        through = torch.zeros_like(block.mix.weight)
        nn.init.dirac_(through[:, :channels])
        write(block.mix, "weight", through)
        write(block.mix, "bias", torch.zeros(channels, dtype=through.dtype))
    elif isinstance(block, nn.Sequential) and isinstance(before, nn.Sequential) and len(block) == len(before) == 3:
        missed = become_identity(block, before, channels)
        if missed is None or missed > TOLERANCE:
            log.warning("%s starts with fresh weights: no layer like it can hand on its input", place)
    else:
        raise InheritanceError(f"{place} is a {type(block).__name__}, which cannot begin as nothing: keep this depth")


def can_begin(stage: Architecture) -> bool:
    """Tell whether new blocks of a stage, named as an architecture does, can begin as nothing, at least nearly."""
    parts = [stage.get(name) for name in ("wiring", "layer", "activation")]
    return _can_begin(canonical(parts)) if None not in parts else True


@cache
def _can_begin(parts: str) -> bool:
    wiring, layer, activation = json.loads(parts)
    if wiring not in ("plain", "residual"):
        return True
    with seeded(0), torch.no_grad():
        parts_made = (make("layer", layer, NARROW, NARROW, LINEAR), make("norm", "batch", NARROW))
        body = nn.Sequential(*parts_made, make("activation", activation, NARROW)).double()
        if wiring == "residual":
            return rest(body, NARROW) <= NEGLIGIBLE
        missed = become_identity(deepcopy(body), body, NARROW)
    return missed is not None and missed <= TOLERANCE
