"""Axes: channels that several tensors of a network have in common, and which of the parent's become the child's.

A narrower axis keeps the channels that matter most, by their share in the variance Var[x]·Σw² of all that reads them,
from the weights alone (`statistics`). A wider one has all channels of the parent and then copies of those that matter
most, each as often as the others or once more (Net2Net draws them at random). Channels that a function takes in groups
are kept or copied so that every group of the child is made of one group of the parent, as far as the sizes let it:

    parts   so many groups in both networks (the statistics of a norm, the coefficients of group_rational)
    units   so many neighbours in a group (a sorted pair, a product, 2 of every 4 weights)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from nas.training.inheritance.errors import InheritanceError
from nas.training.inheritance.statistics import Statistics


def arranged(weight: Tensor, new: int, parts: Iterable[int] = (), units: Iterable[int] = ()) -> Tensor:
    """Return for each of `new` channels which of the old ones it is, [new]; `weight` [old] says how they matter."""
    old = len(weight)
    if new == old:
        return torch.arange(old)
    count = _common(parts, math.gcd(old, new))
    unit = _common(units, math.gcd(old // count, new // count))
    matter = weight.view(count, -1, unit).sum(2)
    held, wanted = matter.shape[1], new // (count * unit)
    order = matter.sort(dim=1, descending=True, stable=True).indices
    more = order[:, : wanted % held].sort(1).values
    kept = torch.cat([torch.arange(held).repeat(wanted // held).expand(count, -1), more], 1)
    first = (torch.arange(count)[:, None] * held + kept) * unit
    return (first[..., None] + torch.arange(unit)).flatten()


def _common(wanted: Iterable[int], size: int) -> int:
    """Return the least common multiple of the numbers, or else the largest of them, that divides a size."""
    fitting = [number for number in wanted if size % number == 0]
    whole = math.lcm(*fitting)
    return whole if size % whole == 0 else max(fitting)


@dataclass(eq=False)
class Axis:
    """A number of channels in the parent and in the child, and what is known of how they hang together."""

    old: int
    new: int
    parts: set[int] = field(default_factory=set)
    units: set[int] = field(default_factory=set)
    used: Tensor = field(init=False)
    _same: Axis | None = None
    _index: Tensor | None = None

    def __post_init__(self) -> None:
        self.used = torch.zeros(self.old, dtype=torch.float64)

    def root(self) -> Axis:
        return self if self._same is None else self._same.root()

    def join(self, other: Axis) -> None:
        """Make two axes one; raises InheritanceError where their sizes differ."""
        mine, theirs = self.root(), other.root()
        if mine is theirs:
            return
        if (mine.old, mine.new) != (theirs.old, theirs.new):
            raise InheritanceError(
                f"channels {theirs.old} to {theirs.new} are added to channels {mine.old} to {mine.new}: "
                "what is added has one width"
            )
        mine.parts |= theirs.parts
        mine.units |= theirs.units
        mine.used += theirs.used
        theirs._same = mine

    def index(self) -> Tensor:
        """Return which of the parent's channels each of the child's is [new]; nothing can be joined afterwards."""
        root = self.root()
        if root._index is None:
            root._index = arranged(root.used, root.new, root.parts, root.units)
        return root._index


@dataclass(frozen=True, eq=False)
class Layout:
    """What a dimension of a tensor consists of: axes one after the other, each channel of one as `inner` entries.

    `statistics` are those of the parent's entries. `kept` is, right after a linear map, the share of each output's
    variance that is left by the channels that the child has.
    """

    axes: tuple[Axis, ...]
    statistics: Statistics
    inner: int = 1
    kept: Callable[[], Tensor] | None = None

    @property
    def old(self) -> int:
        return sum(axis.old for axis in self.axes) * self.inner

    @property
    def new(self) -> int:
        return sum(axis.new for axis in self.axes) * self.inner

    @property
    def stays(self) -> bool:
        """Whether all axes are as wide in the child as in the parent, so that nothing moves."""
        return all(axis.old == axis.new for axis in self.axes)

    def looking(self, statistics: Statistics, kept: Callable[[], Tensor] | None = None) -> Layout:
        """Return this layout with other statistics."""
        return replace(self, statistics=statistics, kept=kept)

    def times(self, count: int) -> Layout:
        """Return this layout so many times in a row."""
        return Layout(self.axes * count, self.statistics.times(count), self.inner)

    def then(self, other: Layout) -> Layout:
        """Return this layout and another one after it."""
        return Layout(self.axes + other.axes, self.statistics.then(other.statistics), self.inner)

    def spread(self, cells: int) -> Layout:
        """Return the layout with every entry `cells` times."""
        return Layout(self.axes, self.statistics.spread(cells), self.inner * cells)

    def join(self, other: Layout) -> None:
        """Make the axes of two layouts one, pair by pair; raises InheritanceError where they do not match."""
        if len(self.axes) != len(other.axes) or self.inner != other.inner:
            raise InheritanceError(f"{other.old} entries are added to {self.old} that are laid out otherwise")
        for mine, theirs in zip(self.axes, other.axes, strict=True):
            mine.join(theirs)

    def index(self) -> Tensor:
        """Return which entry of the parent each entry of the child is [new]."""
        found, start = [], 0
        for axis in self.axes:
            first = (start + axis.index()) * self.inner
            found.append((first[:, None] + torch.arange(self.inner)).flatten())
            start += axis.old
        return torch.cat(found)

    def gone(self) -> Tensor:
        """Return 1 for each entry of the parent that the child does not have, else 0 [old]."""
        gone = torch.ones(self.old, dtype=torch.float64)
        gone[self.index()] = 0
        return gone

    def use(self, shares: Tensor) -> None:
        """Count for the axes what shares [old] of something are theirs."""
        sizes = [axis.old * self.inner for axis in self.axes]
        for axis, part in zip(self.axes, torch.split(shares, sizes), strict=True):
            axis.root().used += part.view(-1, self.inner).sum(1)


def layout(old: int, new: int, statistics: Statistics | None = None) -> Layout:
    """Return the layout of one new axis, of standard normal channels unless it is said."""
    return Layout((Axis(old, new),), statistics or Statistics.normal(old))
