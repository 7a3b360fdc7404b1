"""A tensor of the child from one of the parent: which entries, and how copies share what one did alone.

Copies of a channel that is read share its weights at random, from a quarter to three quarters each where there are two,
otherwise for every weight. So they add up to what it was, and no two copies get the same gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from nas.training.inheritance.axes import Layout
from nas.training.inheritance.masks import fixed_mask, read, write

RESTART = 0.1


@dataclass(frozen=True)
class Groups:
    """The groups of neighbouring channels of a layout, whose numbers differ between the networks."""

    layout: Layout
    old: int
    new: int

    def index(self) -> Tensor:
        """Return for each group of the child that of the parent its first channel was in [new]."""
        first = torch.arange(self.new) * (self.layout.new // self.new)
        return self.layout.index()[first] // (self.layout.old // self.old)


@dataclass(frozen=True)
class Piece:
    """A tensor `name` of a module, from `source`: entries of each of `dims`, divided by copies, times `factor`.

    Along `shared` copies share at random. Along the dimensions in `even` a value is divided by its number of copies
    to a power. `mended` changes the source once it is known which channels the child has.
    """

    module: nn.Module
    name: str
    source: Tensor
    dims: Mapping[int, Layout | Groups]
    shared: int | None = None
    even: Mapping[int, float] = field(default_factory=dict)
    factor: float = 1.0
    mended: Callable[[Tensor], Tensor] | None = None

    @property
    def moves(self) -> bool:
        """Whether the child's tensor may differ from the parent's."""
        return self.mended is not None or not all(isinstance(d, Layout) and d.stays for d in self.dims.values())


@torch.no_grad()
def lay(piece: Piece) -> None:
    """Write the child's tensor. What reads none of the channels that are left starts anew, with small weights."""
    value = piece.source if piece.mended is None else piece.mended(piece.source)
    for dim, layout in piece.dims.items():
        value = value.index_select(dim, layout.index())
    for dim, power in piece.even.items():
        copies = _copies(piece.dims[dim].index()).to(value.dtype) ** -power
        value = value * copies.view(-1, *[1] * (value.ndim - 1 - dim))
    if piece.shared is not None:
        value = _restarted(piece, value * _shares(piece, value))
    write(piece.module, piece.name, value * piece.factor)


def _copies(index: Tensor) -> Tensor:
    return torch.bincount(index)[index]


def _shares(piece: Piece, value: Tensor) -> Tensor:
    """Return the share of every weight [same shape]; those of the copies of one channel add up to 1."""
    assert piece.shared is not None
    index = piece.dims[piece.shared].index()
    draw = 0.5 + torch.rand(value.shape, dtype=value.dtype)
    if mask := fixed_mask(piece.module, piece.name):
        draw = _thinned(draw * (value != 0), index, piece.shared, int(mask.mask.sum()))
    total = _together(draw, index, piece.shared)
    return torch.where(total > 0, draw / total, 0.0)


def _together(values: Tensor, index: Tensor, dim: int) -> Tensor:
    """Return at every place the sum over the copies of its channel."""
    shape = list(values.shape)
    shape[dim] = int(index.max()) + 1
    return values.new_zeros(shape).index_add(dim, index, values).index_select(dim, index)


def _thinned(draw: Tensor, index: Tensor, dim: int, room: int) -> Tensor:
    """Set as many places to 0 as find no room in a mask, but leave one copy of each weight."""
    surplus = int((draw > 0).sum()) - room
    where = index.view(-1, *[1] * (draw.ndim - 1 - dim)).expand_as(draw)
    shape = list(draw.shape)
    shape[dim] = int(index.max()) + 1
    greatest = draw.new_zeros(shape).scatter_reduce(dim, where, draw, "amax").index_select(dim, index)
    spare = ((draw > 0) & (draw < greatest)).flatten().nonzero().flatten()
    if surplus <= 0 or not len(spare):
        return draw
    thin = draw.flatten()
    least = thin[spare].argsort()[:surplus]
    thin[spare[least]] = 0
    return thin.view_as(draw)


def _restarted(piece: Piece, value: Tensor) -> Tensor:
    """Return the value with small fresh rows where nothing is left of what the parent's read."""
    row = 1 - (piece.shared or 0)
    others = tuple(dim for dim in range(value.ndim) if dim != row)
    had = (piece.source != 0).any(others, keepdim=True)
    if row in piece.dims:
        had = had.index_select(row, piece.dims[row].index())
    lost = had & (value == 0).all(others, keepdim=True)
    return torch.where(lost, RESTART * read(piece.module, piece.name), value)
