"""Where a run stands."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from nas.objectives import Objective
from nas.store import State


@dataclass
class Progress:
    """Where a run stands, for whoever watches it."""

    total: int
    objectives: list[Objective]
    begin: float = field(default_factory=time.monotonic)
    already: int = 0
    counts: dict[State, int] = field(default_factory=dict)
    best: dict[str, tuple[float, int]] = field(default_factory=dict)
    running: dict[int, int] = field(default_factory=dict)
    supernets: dict[int, dict[str, float]] = field(default_factory=dict)
    last: str = ""
    said: list[str] = field(default_factory=list)

    @property
    def done(self) -> int:
        return sum(self.counts.values())

    @property
    def seconds(self) -> float:
        return time.monotonic() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds to go at the pace of this run, once there is one."""
        made = self.done - self.already
        return self.seconds / made * (self.total - self.done) if made else None

    def note(self, number: int, state: State, values: dict[str, float] | None) -> None:
        """Count a trial that ended."""
        self.running.pop(number, None)
        self.counts[state] = self.counts.get(state, 0) + 1
        if state is not State.COMPLETED or values is None:
            return
        for each in self.objectives:
            value = values[each.name]
            if each.name not in self.best or each.loss(value) < each.loss(self.best[each.name][0]):
                self.best[each.name] = (value, number)

    def say(self, line: str) -> None:
        """Tell whoever watches a line that must not be missed, once."""
        self.last = line
        self.said.append(line)

    def reset(self) -> None:
        """Count anew, as the store has it."""
        self.counts.clear()
        self.best.clear()
        self.running.clear()
        self.supernets.clear()

    def supernet_ended(self, number: int) -> None:
        """Forget a supernet, which is no trial."""
        self.running.pop(number, None)
        self.supernets.pop(number, None)


Watch = Callable[[Progress], None]
