"""A schedule and what hangs on it: verdicts that were given, trials that are paused, and what is decided of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from nas.job import Origin
from nas.plans import Bench, Ticket
from nas.schedules import Decided, Fork, Schedule, Verdict
from nas.schedules.immediate import Immediate
from nas.store.queries import TrialRow
from search_spaces.decisions import Architecture


@dataclass
class Judging:
    """What a schedule is told, and what it decided that is not carried out yet. Trials are known by their numbers.

    All of it is told here, replayed, or heard of from another driver alike. `paused` trials that an earlier run or
    another driver saw are rows; `pending` is what was decided of paused trials.
    """

    schedule: Schedule
    bench: Bench
    paused: dict[int, Ticket | TrialRow] = field(default_factory=dict)
    pending: dict[int, Decided] = field(default_factory=dict)
    forks: int = 0
    closed: bool = False
    _given: dict[int, set[int]] = field(default_factory=dict)
    _cut: set[int] = field(default_factory=set)
    _left: dict[int, tuple[Architecture, int, Origin | None]] = field(default_factory=dict)
    _line: dict[int, int] = field(default_factory=dict)
    _length: int = 0

    @property
    def retaining(self) -> list[int]:
        """The trials that may have left checkpoints for others."""
        return list(self._left)

    def place(self, number: int) -> int:
        """Return a trial's place in the line of those to be run, in this run and in the next."""
        return self._line.get(number, -1)

    def origin(self, fork: Fork) -> Origin:
        """Return the checkpoint that a fork goes on from."""
        return Origin(self.bench.place(fork.source), fork.step, *self._left[fork.source])

    def began(self, number: int, architecture: Architecture, seed: int) -> None:
        """Take note of a trial of a proposal."""
        self.closed = False
        if self.schedule.retains:
            self._left[number] = architecture, seed, None
        self.schedule.began(number, architecture)

    def forked(self, number: int, seed: int, fork: Fork, replaced: int) -> None:
        """Take note of a trial that took another's place."""
        self.forks += 1
        self.line_up(number)
        self._left[number] = fork.architecture, seed, self.origin(fork)
        self.schedule.began(number, fork.architecture, fork, replaced)

    def judged(self, number: int, step: int) -> bool:
        """Say whether a trial was judged at a pause before."""
        return step in self._given.get(number, ())

    def judge(self, number: int, step: int, losses: Sequence[float], known: str | None = None) -> Decided:
        """Judge a trial that waits at a pause; a verdict that is `known` is not worked out again where it may be so."""
        self._given.setdefault(number, set()).add(step)
        if known is not None and isinstance(self.schedule, Immediate):
            self.schedule.note(number, step, losses)
            decided: Decided = Verdict(known)
        else:
            decided = self.schedule.judge(number, step, losses)
        if decided is not Verdict.CONTINUE and decided is not Verdict.PAUSE:
            self._cut.add(number)
        self._drain()
        return decided

    def let_go(self, number: int, *, goes_on: bool) -> None:
        """Take note that what was decided of a paused trial is carried out."""
        self.pending.pop(number, None)
        self.paused.pop(number, None)
        if goes_on:
            self.line_up(number)
        else:
            self._cut.add(number)

    def close(self) -> None:
        """Take note that no more trials will begin."""
        self.closed = True
        self.schedule.closing()
        self._drain()

    def ended(self, number: int) -> None:
        """Take note that a trial ended; the schedule is told unless its own verdict was why."""
        self._line.pop(number, None)
        self._given.pop(number, None)
        if number in self._cut:
            self._cut.discard(number)
        else:
            self.schedule.ended(number)
            self._drain()

    def line_up(self, number: int) -> None:
        """Put a trial behind all that are to be run before it."""
        self._length += 1
        self._line[number] = self._length

    def settle(self) -> None:
        """Forget what was decided of paused trials and carried out since."""
        self.pending = {number: each for number, each in self.pending.items() if number in self.paused}

    def _drain(self) -> None:
        self.pending |= dict(self.schedule.released())
