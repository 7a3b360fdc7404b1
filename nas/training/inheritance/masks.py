"""Weights behind masks: read as the layer uses them, written so that the child's mask fits what it inherits.

A fixed random mask keeps as many weights as the child's density asks for, which the fresh child's mask says: all that
the parent's mask left as far as they find room, the largest first, and of the fresh mask what room is left. N:M masks
follow the weights by themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from search_spaces.sparsity.n_m import NMMask
from search_spaces.sparsity.random import FixedMask

Shared = tuple[nn.Module, str]


def own(module: nn.Module) -> Iterator[str]:
    """Name the tensors that are a module's own, a masked weight by the name that the layer uses."""
    if isinstance(module, parametrize.ParametrizationList | FixedMask | NMMask):
        return
    yield from (name for name, _ in module.named_parameters(recurse=False))
    yield from (name for name, _ in module.named_buffers(recurse=False))
    if parametrize.is_parametrized(module):
        yield from cast(Any, module).parametrizations


def kind(module: nn.Module) -> type:
    """Return the class of a module, masked or not: torch gives every masked module one of its own."""
    return type(module).__bases__[0] if parametrize.is_parametrized(module) else type(module)


def read(module: nn.Module, name: str) -> Tensor:
    """Return a tensor as the module uses it, masked weights with zeros."""
    return cast(Tensor, getattr(module, name)).detach()


def fixed_mask(module: nn.Module, name: str) -> FixedMask | None:
    """Return the fixed mask of a weight, if it has one."""
    return next((mask for mask in _masks(module, name) if isinstance(mask, FixedMask)), None)


def group_size(module: nn.Module, name: str) -> int:
    """Return the m of an N:M mask, 1 where there is none."""
    return next((mask.m for mask in _masks(module, name) if isinstance(mask, NMMask)), 1)


@torch.no_grad()
def write(module: nn.Module, name: str, value: Tensor) -> None:
    """Give a module a tensor, and a fixed mask of it those of its values that it has room for."""
    target = _stored(module, name)
    if mask := fixed_mask(module, name):
        mask.mask.copy_(_settled(value, mask.mask))
        value = value * mask.mask
    target.copy_(value)


@torch.no_grad()
def transfer(child: nn.Module, parent: nn.Module, name: str) -> None:
    """Give a module the tensor of the parent's at its place, as it is; what a mask hides goes along where it can."""
    same = [type(mask) for mask in _masks(child, name)] == [type(mask) for mask in _masks(parent, name)]
    whole = fixed_mask(child, name) is None
    write(child, name, _stored(parent, name) if same and whole else read(parent, name))


def _settled(value: Tensor, fresh: Tensor) -> Tensor:
    """Return a mask of as many places as the fresh one has, with the largest of the values in it."""
    # Above 2: a place with a value; above 1: one that the fresh mask has; the others come last.
    size = value.abs() / value.abs().max().clamp(min=torch.finfo(value.dtype).tiny)
    rank = torch.rand(value.shape, dtype=value.dtype) / 2 + fresh
    rank = torch.where(value == 0, rank, 2 + size).flatten()
    mask = torch.zeros_like(rank, dtype=torch.bool)
    mask[rank.topk(int(fresh.sum())).indices] = True
    return mask.view(value.shape)


def _masks(module: nn.Module, name: str) -> list[nn.Module]:
    if not parametrize.is_parametrized(module, name):
        return []
    return list(cast(Any, module).parametrizations[name])


def _stored(module: nn.Module, name: str) -> Tensor:
    if parametrize.is_parametrized(module, name):
        return cast(Tensor, cast(Any, module).parametrizations[name].original)
    return cast(Tensor, getattr(module, name))
