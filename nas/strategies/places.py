"""Working through a fixed list of proposals: which place of the list comes next, with any number of workers."""

from __future__ import annotations

from bisect import bisect_left, insort
from dataclasses import dataclass, field

BLOCK = 4096


@dataclass
class Places:
    """The places 0, 1, ... of a list (`size` of them, None: without end) that are proposed or judged already.

    The next place follows the one that was taken last. A place that came to nothing, because its trial failed or
    was not chosen, is free again, as if it had never been taken. That a failing one is not proposed for ever, each
    turn since the last multiple of 4096 that came to nothing leaves one more free place out. After the end of the
    list the places left out come, and when none is free it begins again.
    """

    size: int | None = None
    _taken: set[int] = field(default_factory=set)
    _places: dict[int, int] = field(default_factory=dict)
    _turns: list[int] = field(default_factory=list)
    _repeated: dict[int, bool] = field(default_factory=dict)

    def next(self, turn: int) -> int:
        """Return the place for a turn; it is not taken by that."""
        block = turn - turn % BLOCK
        wasted = turn - block - (len(self._turns) - bisect_left(self._turns, block))
        place = self._places[self._turns[-1]] if self._turns else -1
        if self.size is not None:
            free = self.size - len(self._taken)
            if not free:
                return (place + 1 + wasted) % self.size
            wasted %= free
        for _ in range(wasted + 1):
            place = self._free_after(place)
        return place

    def take(self, turn: int, place: int) -> None:
        """Take a place for a turn."""
        self._repeated[turn] = place in self._taken
        self._taken.add(place)
        self._places[turn] = place
        insort(self._turns, turn)

    def settle(self, turn: int, *, judged: bool) -> None:
        """Note how a turn ended; a place that was not judged is free again."""
        repeated = self._repeated.pop(turn, None)
        if repeated is None or judged:
            return
        place = self._places.pop(turn)
        del self._turns[bisect_left(self._turns, turn)]
        if not repeated:
            self._taken.discard(place)

    def _free_after(self, place: int) -> int:
        place += 1
        while place in self._taken or place == self.size:
            place = 0 if place == self.size else place + 1
        return place
