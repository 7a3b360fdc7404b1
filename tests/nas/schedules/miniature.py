"""Studies in miniature: trials begin, report, fail, wait and are forked in a random order, as a schedule says."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from nas.schedules import Decided, Fork, Schedule, Verdict
from search_spaces.decisions import Architecture, Choice, Integer, Real, Struct, changeable
from search_spaces.space import Space

TINY = Space(
    "tiny",
    "a network and its training",
    Struct(
        network=Struct(width=Integer(1, 4)),
        training=Struct(
            optimizer=Choice(
                adamw=Struct(rate=changeable(Real(1e-4, 1.0, log=True))),
                sgd=Struct(rate=changeable(Real(1e-3, 1.0, log=True)), momentum=changeable(Real(0.0, 0.99))),
            ),
            batch=changeable(Choice(32, 64, 128)),
            warmup=Real(0.0, 0.3),
        ),
    ),
    lambda architecture, signature: None,  # type: ignore[arg-type,return-value]
)

Losses = Callable[[int, int, Architecture], list[float]]
Call = tuple[str, tuple[Any, ...]]


@dataclass
class Trial:
    architecture: Architecture
    step: int = 0
    state: str = "running"


@dataclass
class Study:
    """A schedule and its trials. `calls` are all calls of the schedule in their order, `answers` its verdicts.

    `told` are the verdicts on paused trials, in the order in which they came.
    """

    schedule: Schedule
    epochs: int
    losses: Losses
    rng: Random
    failing: float = 0.0
    trials: dict[int, Trial] = field(default_factory=dict)
    calls: list[Call] = field(default_factory=list)
    answers: list[Decided] = field(default_factory=list)
    told: list[tuple[int, Decided]] = field(default_factory=list)
    forks: dict[int, tuple[int, Fork]] = field(default_factory=dict)

    def run(self, count: int) -> None:
        """Begin so many trials, each at a random time, and go on until nobody runs."""
        while count or self._running():
            if count and (not self._running() or self.rng.random() < 0.3):
                count -= 1
                self._begin(TINY.draw(self.rng))
                if count == 0 and self.rng.random() < 0.5:
                    self.call("closing")
            else:
                self._advance(self.rng.choice(self._running()))
            if not count and not self._running():
                self.call("closing")
            self._release()

    def _running(self) -> list[int]:
        return [number for number, each in self.trials.items() if each.state == "running"]

    def call(self, name: str, *arguments: Any) -> Any:
        self.calls.append((name, arguments))
        return getattr(self.schedule, name)(*arguments)

    def _begin(self, architecture: Architecture, fork: Fork | None = None, replaced: int | None = None) -> None:
        number = len(self.trials)
        self.trials[number] = Trial(architecture, fork.step if fork else 0)
        if fork is not None:
            assert replaced is not None
            self.forks[number] = replaced, fork
            self.call("began", number, architecture, fork, replaced)
        else:
            self.call("began", number, architecture)

    def _advance(self, number: int) -> None:
        trial = self.trials[number]
        if self.rng.random() < self.failing:
            trial.state = "failed"
            return self.call("ended", number)
        trial.step += 1
        if trial.step == self.epochs:
            trial.state = "completed"
            return self.call("ended", number)
        if trial.step in self.schedule.pauses:
            verdict = self.call("judge", number, trial.step, self.losses(number, trial.step, trial.architecture))
            self.answers.append(verdict)
            trial.state = {Verdict.CONTINUE: "running", Verdict.STOP: "stopped", Verdict.PAUSE: "paused"}[verdict]
        return None

    def _release(self) -> None:
        released = self.schedule.released()
        self.told += released
        for number, decided in released:
            trial = self.trials[number]
            assert trial.state == "paused"
            assert decided is not Verdict.PAUSE
            trial.state = "running" if decided is Verdict.CONTINUE else "stopped"
        for number, decided in released:
            if isinstance(decided, Fork):
                self._begin(decided.architecture, decided, number)


def replayed(schedule: Schedule, calls: list[Call]) -> tuple[list[Decided], list[tuple[int, Decided]]]:
    """Repeat calls on another schedule, and ask only at the end what it released: the verdicts, then those."""
    answers = [getattr(schedule, name)(*arguments) for name, arguments in calls]
    return [each for each in answers if each is not None], schedule.released()


def noisy(seed: int, objectives: int = 1, odd: float = 0.0) -> Losses:
    """Losses that depend on trial and step alone; a share of them are not finite."""

    def losses(number: int, step: int, architecture: Architecture) -> list[float]:
        rng = Random(f"{seed}/{number}/{step}")
        return [rng.choice((math.inf, math.nan)) if rng.random() < odd else rng.random() for _ in range(objectives)]

    return losses
