"""What a parameter of a network is called in a bank: by its place and by the components on the way to it.

A component is known by the mark that `search_spaces.registry.make` leaves on it. A wiring is no part of the name of the
body that it was given, so blocks share their weights whatever joins them; nor is a mask part of its weight's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn
from torch.nn.utils.parametrize import ParametrizationList

from nas.supernet.slices import slabs
from search_spaces.decisions import canonical
from search_spaces.sparsity.random import FixedMask

MASKED = re.compile(r"\.parametrizations\.(\w+)\.original$")


@dataclass(frozen=True)
class Place:
    """A parameter of one network: its name there, its name in a bank without the size, and its slabs by dimension.

    `scale` is what undoes the enlargement of the weights that a random mask has left.
    """

    name: str
    base: str
    parameter: Tensor
    counts: tuple[int, ...]
    scale: float = 1.0


@dataclass(frozen=True)
class _Spot:
    """A module's place: its name in the network, its path without wirings, the marks on the way with their depth."""

    name: tuple[str, ...] = ()
    path: tuple[str, ...] = ()
    marks: tuple[tuple[int, str], ...] = ()
    layout: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))


def places(network: nn.Module) -> list[Place]:
    """List the parameters of a network; one that several modules share has the name of the first."""
    found: dict[str, Place] = {}
    for place in _walk(network, _Spot(), set()):
        # Two bodies in one wiring have the same path.
        base = place.base if place.base not in found else f"{place.base}|{place.name}"
        found[base] = Place(place.name, base, place.parameter, place.counts, place.scale)
    return list(found.values())


def _walk(module: nn.Module, spot: _Spot, seen: set[int]) -> Iterator[Place]:
    spot = _entered(module, spot)
    for inner, dims in slabs(module).items():
        known = spot.layout[MASKED.sub(r".\1", ".".join((*spot.name, inner)))]
        for dim, count in dims.items():
            known[dim] = known.get(dim, 1) * count
    for name, parameter in module.named_parameters(recurse=False):
        if id(parameter) not in seen:
            seen.add(id(parameter))
            yield _place(module, parameter, spot, name)
    fed: tuple[tuple[int, str], ...] = ()
    for name, child in module.named_children():
        inside = _Spot((*spot.name, name), (*spot.path, name), spot.marks + fed, spot.layout)
        yield from _walk(child, inside, seen)
        if isinstance(module, nn.Sequential) and _mark(child).startswith("pool:"):
            # How many features a layer gets from a map is the pool's matter.
            fed = ((len(spot.path), f"after {_mark(child)}"),)


def _entered(module: nn.Module, spot: _Spot) -> _Spot:
    """Return the spot with the module's own mark, and without what it was only given to."""
    path, marks = spot.path, spot.marks
    if getattr(module, "handed_in", False) and marks:
        depth, _ = marks[-1]
        path, marks = path[:depth], marks[:-1]
    if mark := _mark(module):
        marks = (*marks, (len(path), mark))
    return _Spot(spot.name, path, marks, spot.layout)


def _mark(module: Any) -> str:
    kind, chosen = getattr(module, "made_as", ("", None))
    return f"{kind}:{canonical(chosen)}" if kind else ""


def _place(module: nn.Module, parameter: Tensor, spot: _Spot, name: str) -> Place:
    path = MASKED.sub(r".\1", ".".join((*spot.path, name)))
    dims = spot.layout.get(MASKED.sub(r".\1", ".".join((*spot.name, name))), {})
    counts = tuple(dims.get(dim, 1) for dim in range(parameter.ndim))
    base = "|".join((path, *(mark for _, mark in spot.marks)))
    return Place(".".join((*spot.name, name)), base, parameter, counts, _dense_scale(module))


def _dense_scale(module: nn.Module) -> float:
    masks = [mask for mask in module if isinstance(mask, FixedMask)] if isinstance(module, ParametrizationList) else []
    scale = 1.0
    for mask in masks:
        scale *= float(mask.mask.float().mean()) ** 0.5
    return scale
