"""Grid search: every architecture of a space once, counted through without being listed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from hashlib import blake2b

from nas.strategies import Proposal
from nas.strategies.places import Places
from nas.strategies.units import value_at
from search_spaces.decisions import Architecture, Choice, Domain, Integer, Real, Repeat, Scalar, Struct
from search_spaces.registry import register
from search_spaces.space import Space

ROUNDS = 4


@register(
    "strategy",
    "grid",
    options=Struct(points=Integer(1, 1000), order=Choice("shuffled", "lexicographic")),
)
class GridSearch:
    """Every architecture once, with `points` values of each real number, evenly spaced or in the logarithm.

    The order is `lexicographic`, in which the last decision of the tree changes first, or `shuffled` by the seed.
    A trial that failed comes again at the end, and after the end all begin again.
    """

    def __init__(self, space: Space, objectives: int, seed: int, *, points: int = 5, order: str = "shuffled") -> None:
        self._grid = Grid(space.tree, points)
        self._places = Places(self._grid.size)
        self._seed = seed if order == "shuffled" else None

    def ask(self, turn: int) -> Proposal:
        place = self._places.next(turn)
        self._places.take(turn, place)
        index = place if self._seed is None else shuffled(place, self._grid.size, self._seed)
        return Proposal(turn, self._grid[index], {"place": place})

    def remember(self, proposal: Proposal) -> None:
        self._places.take(proposal.turn, proposal.note["place"])

    def tell(self, turn: int, losses: Sequence[float] | None, *, feasible: bool = True) -> None:
        self._places.settle(turn, judged=losses is not None or not feasible)


class Grid:
    """The architectures of a tree in lexicographic order, with `points` values of each real number."""

    def __init__(self, tree: Domain, points: int) -> None:
        self._tree = tree
        self._points = points
        self._sizes: dict[int, int] = {}
        self.size = self._count(tree)

    def __getitem__(self, index: int) -> Architecture:
        return self._at(self._tree, index)

    def _count(self, node: Domain) -> int:
        """Count the architectures of a node and of all below it, and keep the numbers."""
        if isinstance(node, Struct):
            count = math.prod([self._count(field) for field in node.fields.values()])
        elif isinstance(node, Repeat):
            self._count(node.item)
            count = sum(self._lists(node, length) for length in range(node.low, node.high + 1))
        elif isinstance(node, Choice):
            count = sum(self._count(node.inner[each]) if each in node.inner else 1 for each in node.options)
        elif isinstance(node, Real):
            count = self._points if node.low < node.high else 1
        else:
            count = node.size()
        self._sizes[id(node)] = count
        return count

    def _lists(self, node: Repeat, length: int) -> int:
        count: int = self._sizes[id(node.item)] ** (min(length, 1) if node.tied else length)
        return count

    def _at(self, node: Domain, index: int) -> Architecture:
        if isinstance(node, Struct):
            named = {}
            for name in reversed(list(node.fields)):
                index, digit = divmod(index, self._sizes[id(node.fields[name])])
                named[name] = self._at(node.fields[name], digit)
            return {name: named[name] for name in node.fields}
        if isinstance(node, Repeat):
            return self._list_at(node, index)
        if isinstance(node, Choice):
            return self._option_at(node, index)
        if isinstance(node, Integer):
            return node.low + node.step * index
        return self._level(node, index)

    def _list_at(self, node: Repeat, index: int) -> list[Architecture]:
        length = node.low
        while index >= (count := self._lists(node, length)):
            index -= count
            length += 1
        if node.tied:
            return [self._at(node.item, index)] * length if length else []
        digits = []
        for _ in range(length):
            index, digit = divmod(index, self._sizes[id(node.item)])
            digits.append(digit)
        return [self._at(node.item, digit) for digit in reversed(digits)]

    def _option_at(self, node: Choice, index: int) -> Architecture:
        for option in node.options:
            count = self._sizes[id(node.inner[option])] if option in node.inner else 1
            if index < count:
                return {option: self._at(node.inner[option], index)} if option in node.inner else option
            index -= count
        raise IndexError(index)

    def _level(self, node: Real, index: int) -> Scalar:
        if node.low == node.high:
            return node.low
        return node.check(value_at(node, index / (self._points - 1) if self._points > 1 else 0.5))


def shuffled(place: int, size: int, seed: int) -> int:
    """Return the number at a place of 0 .. size-1 in an order that the seed gives, without making a list.

    A Feistel cipher on twice as many bits as half of the size needs, gone through until the number is below the size.
    """
    half = max(1, math.ceil((size - 1).bit_length() / 2))
    while True:
        left, right = divmod(place, 1 << half)
        for step in range(ROUNDS):
            left, right = right, left ^ _bits(f"{seed}/{step}/{right}", half)
        place = (left << half) + right
        if place < size:
            return place


def _bits(text: str, count: int) -> int:
    """Return so many bits of a hash."""
    found = 0
    for block in range(0, count, 512):
        found = (found << 512) + int.from_bytes(blake2b(f"{text}/{block}".encode()).digest(), "big")
    return found & ((1 << count) - 1)
