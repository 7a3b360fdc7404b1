"""Whole searches on a virtual clock without a database, for comparing strategies and schedules in seconds.

The loop and the plan are those of every study; only what they write is kept in memory.

settings = Settings(space="digits_bench", task="table:digits_bench", objectives=("accuracy",), epochs=5, trials=50)
best = max(trial.values["accuracy"] for trial in simulate(settings) if trial.state is State.COMPLETED)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nas.checking import check
from nas.execution.simulated import BEGAN, CLOCK, Seconds, VirtualWorkers
from nas.loop import Loop
from nas.objectives import objective
from nas.plans import Bench
from nas.plans.search import Search
from nas.progress import Progress
from nas.settings import Settings, SettingsError
from nas.store import News, State
from nas.tasks import Lookup, find_lookup
from search_spaces.decisions import Architecture
from search_spaces.space import find_space

NOWHERE = Path("/nonexistent")


@dataclass(frozen=True)
class Simulated:
    """A trial of a simulation: its objectives, its latest metrics, and the virtual seconds at which it ended."""

    number: int
    architecture: Architecture
    state: State
    values: Mapping[str, float]
    metrics: Mapping[str, float]
    clock: float


def simulate(
    settings: Settings, workers: int = 1, task: Lookup | None = None, seconds: Seconds | None = None
) -> list[Simulated]:
    """Search as a study of these settings does, and return its trials in their order.

    `task` stands for the one that the settings name. Raises what `nas.search` raises for settings that make no sense.
    """
    space = find_space(settings.space)
    lookup = find_lookup(settings.task) if task is None else task
    if lookup is None:
        raise SettingsError(f"a simulation looks results up, but task {settings.task} trains: give a table or function")
    check(settings, lookup=lookup)
    executor = VirtualWorkers(lookup, space, workers, seconds)
    memory = Memory(executor)
    bench = Bench(settings, lookup.content, NOWHERE)
    progress = Progress(settings.trials, [objective(name) for name in settings.objectives])
    with closing(executor):
        Loop(memory, 0, bench, Search(bench, space), executor, progress, lambda progress: None).run()
    return [trial.ended(number) for number, trial in enumerate(memory.trials)]


@dataclass
class Kept:
    """What is written of one trial."""

    architecture: Architecture
    state: State = State.WAITING
    values: dict[str, float] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)
    clock: float = 0.0

    def ended(self, number: int) -> Simulated:
        return Simulated(number, self.architecture, self.state, self.values, self.metrics, self.clock)


class Memory:
    """Keeps the trials of one simulation, and nothing of what only a resume would read; a ledger and its writer."""

    def __init__(self, executor: VirtualWorkers) -> None:
        self.trials: list[Kept] = []
        self.news: Sequence[News] = ()
        self.driver: int | None = None
        self._executor = executor

    @contextmanager
    def writing(self, study: int) -> Iterator[Memory]:
        yield self

    def add_trial(
        self,
        number: int,
        architecture: Architecture,
        identity: str,
        key: str,
        seed: int,
        *,
        kind: str = "search",
        repeat: int = 0,
        parent: int | None = None,
        forked_at: int | None = None,
    ) -> int:
        self.trials.append(Kept(architecture))
        return number

    def look_after(self) -> int:
        return 0

    def others(self) -> int:
        return 0

    def ready(self) -> str | None:
        return None

    def rejoin(self) -> None:
        raise AssertionError("a simulation has one driver")

    def claim(self, trial: int) -> bool:
        return True

    def pause(self, trial: int, attempt: int) -> None:
        self.trials[trial].state = State.PAUSED

    def release(self, trial: int) -> None:
        self.trials[trial].state = State.WAITING

    def drop_artifact(self, trial: int, kind: str) -> None:
        """No trial leaves files."""

    def start(self, trial: int, attempt: int, worker: str, device: str) -> None:
        self.trials[trial].state = State.RUNNING

    def report(self, trial: int, step: int, metrics: dict[str, float]) -> None:
        self.trials[trial].metrics |= {name: value for name, value in metrics.items() if name not in (CLOCK, BEGAN)}

    def end(
        self,
        trial: int,
        attempt: int,
        state: State,
        *,
        values: dict[str, float] | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        kept = self.trials[trial]
        kept.state, kept.values, kept.clock = state, values or {}, self._executor.clock

    def mark(self, trial: int, state: State) -> None:
        self.trials[trial].state = state

    def lose(self, trial: int, attempt: int, why: str) -> None:
        self.trials[trial].state = State.STALE

    def artifact(self, trial: int, kind: str, path: str, sha256: str, size: int) -> None:
        """No trial leaves files."""

    def score(
        self, identity: str, predictor: str, value: float | None, seconds: float, reason: str | None = None
    ) -> None:
        """The plan has what it needs of the scores."""

    def event(self, kind: str, payload: dict[str, Any], trial: int | None = None) -> None:
        """Nothing is replayed."""

    def settings(self, settings: dict[str, Any]) -> None:
        """A simulation's settings do not change."""
