"""Widths and lengths that may be mixtures: what a space calls where it builds something of a searched size.

All functions take what the architecture holds for a decision. Where that is an ordinary value they return plain values
and the very modules that they were given, so an ordinary network knows nothing of them.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.mixtures.answers import Mixed, mixed
from search_spaces.mixtures.strengths import Strength, weighted


def largest(size: Any) -> int:
    """Return the size to build at: the decided one, or the largest of a mixture."""
    found = mixed(size)
    return max(found.options) if found else size  # type: ignore[no-any-return]


def lengths(decided: Any) -> tuple[int, ...]:
    """List the lengths that are possible for a length or a Repeat: the decided one, or those of a mixture."""
    found = mixed(decided)
    if found:
        return found.options
    return (len(decided) if isinstance(decided, list) else decided,)


def items(repeated: Any) -> list[Any]:
    """List the items of a Repeat, those of the longest length of a mixture."""
    found = mixed(repeated)
    return (found.items or []) if found else repeated


def masked(module: nn.Module, width: Any) -> nn.Module:
    """Blend the widths of what a module returns, [batch, channels, ...]; the module itself for a decided width."""
    found = mixed(width)
    return Masked(module, found) if found else module


def gated(
    blocks: Sequence[nn.Module], length: Any, names: str = "{}", ends: Mapping[int, nn.Module] | None = None
) -> OrderedDict[str, nn.Module]:
    """Blend the lengths of a chain of blocks, as parts for a Sequential: the named blocks for a decided length.

    `ends` has for each length what follows a chain of that length and gives all of them one shape; the end of a decided
    length is the caller's matter.
    """
    found = mixed(length)
    if found:
        return OrderedDict(gated=Gated(blocks, found, ends))
    return OrderedDict((names.format(i), block) for i, block in enumerate(blocks))


class Masked(nn.Module):
    """y·Σ_i w_i·m_i with y = module(x), m_i 1 on the first channels of width i and 0 on the rest (FBNetV2).

    With one width alone the network is the narrow one where nothing that follows takes notice of channels of 0, as
    convolutions do not. Group normalisation does, and so do functions that are not 0 at 0, as most bases.
    """

    masks: Tensor

    def __init__(self, module: nn.Module, found: Mixed) -> None:
        super().__init__()
        self.strength = Strength(found)
        self.module = module
        channels = torch.arange(max(found.options))
        self.register_buffer("masks", torch.stack([(channels < width).float() for width in found.options]), False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.module(x)
        mask = (self.strength() @ self.masks.to(self.strength.alpha.dtype)).to(y.dtype)
        blended: Tensor = y * mask.view(-1, *[1] * (y.ndim - 2))
        return blended


class Gated(nn.Module):
    """Σ_n w_n·end_n(x_n) with x_n = block_n(x_{n-1}), x_0 = x, over the possible lengths n; no end is the identity."""

    def __init__(self, blocks: Sequence[nn.Module], found: Mixed, ends: Mapping[int, nn.Module] | None = None) -> None:
        super().__init__()
        self.strength = Strength(found)
        self.blocks = nn.ModuleList(blocks)
        self.lengths: tuple[int, ...] = found.options
        self.ends = nn.ModuleList(ends[n] if ends else nn.Identity() for n in self.lengths)

    def forward(self, x: Tensor) -> Tensor:
        chain = [x]
        for block in self.blocks:
            chain.append(block(chain[-1]))
        return weighted(self.strength(), (end(chain[n]) for n, end in zip(self.lengths, self.ends, strict=True)))
