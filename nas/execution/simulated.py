"""The executor on a virtual clock: any number of workers, results that are looked up, and no time spent waiting.

Events come in the order of virtual time, at equal times in the order in which their jobs were given. Every report
carries the metric `clock`, the virtual seconds since the study began, and step 0 of a trial that goes on after a pause
`clock_began`, when it went on. What a worker says at one instant comes in one
answer, so that the driver acts on it before it hears of another worker. Nothing depends on the real clock.

A trial that goes on after a pause, in which its worker was free, tells at once what it told before, as of the time
when that was: only its next step takes time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import product
from random import Random
from typing import TYPE_CHECKING

from nas.execution import Event, Problem, Steps
from nas.job import Evaluation, Infeasible, Job, Outcome, Report, Scored, ScoreJob
from nas.lookup import follow
from nas.objectives import broken
from nas.schedules import Verdict
from nas.settings import SettingsError
from nas.tasks import Known, Lookup, Part
from search_spaces.decisions import Architecture
from search_spaces.space import Space

if TYPE_CHECKING:
    from predictors import Predictor

Seconds = float | tuple[float, float]
CLOCK = "clock"
BEGAN = "clock_began"
USUAL_SECONDS = 1.0


def read_seconds(text: str | None) -> Seconds | None:
    """Read `2`, or the range `1:5`; raises SettingsError."""
    try:
        ends = [float(end) for end in text.split(":")] if text is not None else []
    except ValueError:
        ends = [math.nan]
    if len(ends) > 2 or not all(0 <= end < math.inf for end in ends) or ends != sorted(ends):
        raise SettingsError(
            f"--trial-seconds {text!r} does not parse: write seconds from 0 up, as 2, or a range, as 1:5"
        )
    return None if not ends else ends[0] if len(ends) == 1 else (ends[0], ends[1])


@dataclass
class Running:
    """A job on a worker: its next step is due at a virtual time. `known` says when those were that it tells again."""

    job: Job
    order: int
    due: float
    known: Mapping[int, float]
    steps: Steps = field(init=False)
    next: Report | Outcome | Problem = field(init=False)
    seconds: dict[int, float] = field(default_factory=dict)
    told: dict[int, float] = field(default_factory=dict)
    began: float = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.due


class VirtualWorkers:
    """So many workers that look results up.

    `seconds` is what a full training takes, spread evenly over its epochs, or the range from which each trial's is
    drawn by its seed; None: what the results say themselves, and 1 where they say nothing. A run that goes on gives
    the `starts` of the trials that were under way, by number, the time `now`, and the `clocks` of what trials that
    have not ended reported, by number and step.
    """

    def __init__(self, lookup: Lookup, space: Space, workers: int = 1, seconds: Seconds | None = None) -> None:
        if workers < 1:
            raise SettingsError(f"--workers {workers} is not allowed: it must be at least 1")
        if seconds is not None:
            read_seconds(":".join(map(str, seconds)) if isinstance(seconds, tuple) else str(seconds))
        self.workers = tuple(f"virtual-{i}" for i in range(workers))
        self.seconds = seconds
        self.clock = 0.0
        self._lookup = lookup
        self._space = space
        self._now = 0.0
        self._starts: dict[int, float] = {}
        self._clocks: dict[int, dict[int, float]] = {}
        self._order = 0
        self._work: dict[str, Running] = {}
        self._due: list[tuple[float, int, str]] = []
        self._screenings: list[tuple[str, ScoreJob]] = []

    def device_of(self, worker: str) -> str:
        return "simulated"

    @property
    def content(self) -> str:
        """The SHA-256 of what is looked up in."""
        return self._lookup.content

    def restore(
        self, now: float, starts: Mapping[int, float], clocks: Mapping[int, Mapping[int, float]] | None = None
    ) -> None:
        """Set the clock to where an earlier run left it; what was under way is gone through again from its start."""
        self._now, self._starts = now, dict(starts)
        self._clocks = {trial: dict(known) for trial, known in (clocks or {}).items()}

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        if isinstance(job, ScoreJob):
            self._screenings.append((worker, job))
            return
        start = self._starts.pop(job.trial, max(self.clock, self._now))
        running = self._work[worker] = Running(job, self._order, start, self._clocks.pop(job.trial, {}))
        self._order += 1
        running.steps = Steps(lambda job: self._evaluate(job, running), job)
        self._go_on(worker, running)

    def events(self, timeout: float) -> list[Event]:
        if self._screenings:
            asked, self._screenings = self._screenings, []
            return [Event(worker, self._score(job)) for worker, job in asked]
        if not self._due:
            return []
        self.clock, _, worker = heapq.heappop(self._due)
        return self._instant(worker)

    def answer(self, worker: str, verdict: Verdict) -> None:
        running = self._work[worker]
        if verdict is Verdict.CONTINUE:
            running.due = self.clock
            self._go_on(worker, running)
            return
        running.steps.close()
        del self._work[worker]
        if verdict is Verdict.PAUSE:
            self._clocks[running.job.trial] = running.told

    def cancel(self, worker: str) -> None:
        running = self._work.pop(worker, None)
        if running is not None:
            running.steps.close()
        self._due = [each for each in self._due if each[2] != worker]
        heapq.heapify(self._due)
        self._screenings = [each for each in self._screenings if each[0] != worker]

    def close(self) -> None:
        for running in self._work.values():
            running.steps.close()
        self._work, self._due, self._screenings = {}, [], []

    def _instant(self, worker: str) -> list[Event]:
        """Return all that a worker says before it waits: for time to pass, for a verdict or for another job."""
        running = self._work[worker]
        events: list[Event] = []
        while True:
            what = running.next
            if not isinstance(what, Report):
                del self._work[worker]
                return [*events, Event(worker, what)]
            clock = running.told[what.step] = running.known.get(what.step, self.clock)
            times = {CLOCK: clock} if what.step or clock == running.began else {CLOCK: clock, BEGAN: running.began}
            events.append(Event(worker, Report(what.step, what.metrics | times)))
            if what.step in running.job.pauses:
                return events
            self._advance(running)
            if running.due > self.clock:
                heapq.heappush(self._due, (running.due, running.order, worker))
                return events

    def _go_on(self, worker: str, running: Running) -> None:
        self._advance(running)
        heapq.heappush(self._due, (running.due, running.order, worker))

    def _advance(self, running: Running) -> None:
        what = running.next = running.steps.advance()
        if not isinstance(what, Report):
            return
        if what.step in running.known:
            running.due = max(running.due, running.known[what.step])
        else:
            running.due += running.seconds.get(what.step, 0.0)

    def _evaluate(self, job: Job, running: Running) -> Evaluation:
        known = self._known(job)
        running.seconds = self._durations(job, known)
        if job.origin is not None:
            begun = job.origin.step
            known = replace(known, epochs=tuple(epoch for epoch in known.epochs if epoch.number > begun))
            job = replace(job, pauses=frozenset(pause for pause in job.pauses if pause > begun))
        return (yield from follow(job, known, self._lookup.name))

    def _known(self, job: Job) -> Known:
        """Look up a job, one that went on from another trial as a training that changed on its way."""
        parts, architecture, origin = list[Part](), job.architecture, job.origin
        while origin is not None:
            parts.insert(0, (origin.step, architecture))
            architecture, origin = origin.architecture, origin.before
        if parts:
            parts.insert(0, (0, architecture))
        return self._lookup.look_up(self._space, job.architecture, job.seed, job.epochs, parts)

    def _durations(self, job: Job, known: Known) -> dict[int, float]:
        """Return the seconds that each epoch's result takes after the one before."""
        drawn, durations, before = _drawn(self.seconds, job.seed), {}, 0
        for epoch in known.epochs:
            given = epoch.seconds if self.seconds is None else None
            durations[epoch.number] = drawn * (epoch.number - before) / job.epochs if given is None else given
            before = epoch.number
        return durations

    def _score(self, job: ScoreJob) -> list[Scored]:
        from nas.scoring import find_predictor

        pairs = product(job.architectures, job.predictors)
        return [self._score_one(job, architecture, find_predictor(name)) for architecture, name in pairs]

    def _score_one(self, job: ScoreJob, architecture: Architecture, predictor: Predictor) -> Scored:
        columns = predictor.columns
        try:
            known = self._lookup.untrained(self._space, architecture)
            reason = broken((each for each in job.constraints if each.name in known), known)
        except Infeasible as error:
            known, reason = {}, str(error)
        missing = [column for column in columns if column not in known]
        if reason is None and missing:
            reason = f"{self._lookup.name} has no column {', '.join(missing)}"
        values = dict.fromkeys(columns) if reason else {column: known[column] for column in columns}
        return Scored(predictor.name, values, reason, 0.0)


def _drawn(seconds: Seconds | None, seed: int) -> float:
    if seconds is None:
        return USUAL_SECONDS
    return Random(f"{seed}/seconds").uniform(*seconds) if isinstance(seconds, tuple) else seconds
