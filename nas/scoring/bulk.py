"""The scoring of many architectures over an executor's workers, chunk by chunk.

The scores of a chunk are in the store before the next is given out, so a run that ends at any moment loses the chunks
in flight alone, and the next run scores what has no scores yet. Chunks are made to take some seconds.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace

from nas.execution import Executor, Problem
from nas.job import Scored, ScoreJob
from nas.scoring import find_predictor
from nas.store import Store, Writer, queries
from search_spaces.decisions import Architecture, identity

CHUNK_SECONDS = 2.0
FIRST, GROWTH = 2, 4
ATTEMPTS = 3
TICK = 0.5


@dataclass
class Progress:
    """Where a scoring stands.

    `without` counts architectures that some predictor gave no score, `again` those of them whose failure was a passing
    one, so that the next run tries them again; `why` is the last such reason.
    """

    total: int
    already: int = 0
    done: int = 0
    without: int = 0
    begin: float = field(default_factory=time.monotonic)
    ended: float | None = None
    paced: tuple[float, int] | None = None
    last: str = ""
    again: int = 0
    why: str = ""

    @property
    def seconds(self) -> float:
        return (time.monotonic() if self.ended is None else self.ended) - self.begin

    @property
    def left(self) -> float | None:
        """Seconds to go at the pace since the first chunk, which had to wait for its worker, once there is one."""
        if self.paced is None or self.done == self.paced[1]:
            return None
        begin, done = self.paced
        return (time.monotonic() - begin) / (self.done - done) * (self.total - self.done)


Watch = Callable[[Progress], None]


@dataclass(frozen=True)
class Task:
    """An architecture with the predictors that have not scored it, and how often its worker was lost."""

    architecture: Architecture
    predictors: tuple[str, ...]
    lost: int = 0


@dataclass(frozen=True)
class Chunk:
    """Tasks for the same predictors, given to a worker at a time of the monotonic clock."""

    tasks: tuple[Task, ...]
    begin: float


def score_all(
    store: Store,
    study: int,
    executor: Executor,
    job: ScoreJob,
    architectures: Sequence[Architecture],
    watch: Watch = lambda progress: None,
    again: Collection[tuple[str, str]] = (),
) -> Progress:
    """Score the architectures that have no scores in a study yet by the job's predictors, and keep what they measured.

    `job` says all but the architectures. What has been tried is not tried again, but for the identities and columns of
    `again`, and for passing failures, which are not kept. A chunk whose worker was lost comes again an architecture at
    a time, and each is given up for this run after three tries. The caller drives the study and closes the executor.
    """
    run = Run(store, study, executor, job, architectures, watch, again)
    run.go()
    run.progress.ended = time.monotonic()
    return run.progress


class Run:
    """One run over the architectures that miss scores."""

    def __init__(
        self,
        store: Store,
        study: int,
        executor: Executor,
        job: ScoreJob,
        architectures: Sequence[Architecture],
        watch: Watch,
        again: Collection[tuple[str, str]],
    ) -> None:
        self._store, self._study, self._executor, self._job, self._watch = store, study, executor, job, watch
        columns = {name: find_predictor(name).columns for name in job.predictors}
        self._columns = columns
        self._known = queries.scores(store, study, [column for each in columns.values() for column in each])
        for key, column in again:
            self._known[key].pop(column)
        distinct = {identity(each): each for each in architectures}
        self.progress = Progress(len(distinct))
        tasks = []
        for key, architecture in distinct.items():
            known = self._known.setdefault(key, {})
            if missing := tuple(name for name in columns if not known.keys() >= set(columns[name])):
                tasks.append(Task(architecture, missing))
            else:
                self._count(key)
        self.progress.already = self.progress.done
        self._waiting = deque(sorted(tasks, key=lambda task: task.predictors))
        self._busy: dict[str, Chunk] = {}
        self._size = FIRST

    def go(self) -> None:
        """Work until every architecture has been tried."""
        self._fill()
        while self._busy or self._waiting:
            events = self._executor.events(TICK)
            with self._store.writing(self._study) as writer:
                for event in events:
                    self._hear(writer, self._busy.pop(event.worker), event.what)
            if events and self.progress.paced is None:
                self.progress.paced = time.monotonic(), self.progress.done
            self._watch(self.progress)
            self._fill()

    def _fill(self) -> None:
        for worker in self._executor.workers:
            if worker not in self._busy and self._waiting:
                chunk = self._busy[worker] = Chunk(self._take(), time.monotonic())
                architectures = tuple(task.architecture for task in chunk.tasks)
                job = replace(self._job, predictors=chunk.tasks[0].predictors, architectures=architectures)
                self._executor.submit(worker, job)

    def _take(self) -> tuple[Task, ...]:
        """Take tasks for the same predictors: as many as a chunk has, no more than an even share of what is left."""
        size = min(self._size, math.ceil(len(self._waiting) / len(self._executor.workers)))
        first = self._waiting.popleft()
        taken = [first]
        while not first.lost and len(taken) < size and self._waiting and self._like(first, self._waiting[0]):
            taken.append(self._waiting.popleft())
        return tuple(taken)

    def _like(self, one: Task, other: Task) -> bool:
        return one.predictors == other.predictors and not other.lost

    def _hear(self, writer: Writer, chunk: Chunk, said: object) -> None:
        if isinstance(said, list):
            self._resize(len(chunk.tasks), time.monotonic() - chunk.begin)
            wanted = [(task, name) for task in chunk.tasks for name in task.predictors]
            for (task, _), scored in zip(wanted, said, strict=True):
                self._keep(writer, task.architecture, scored)
            for task in chunk.tasks:
                self._count(identity(task.architecture))
            return
        assert isinstance(said, Problem)
        self.progress.last = said.reason
        again = [replace(task, lost=task.lost + 1) for task in chunk.tasks]
        self._waiting.extendleft(reversed([task for task in again if task.lost < ATTEMPTS]))
        for task in again:
            if task.lost >= ATTEMPTS:
                self.progress.why = f"{said.reason} ({ATTEMPTS} times)"
                self._count(identity(task.architecture))

    def _keep(self, writer: Writer, architecture: Architecture, scored: Scored) -> None:
        if scored.passing:
            self.progress.last = self.progress.why = scored.reason or ""
            return
        key = identity(architecture)
        for column, value in scored.values.items():
            writer.score(key, column, value, scored.seconds / len(scored.values), scored.reason)
            self._known[key][column] = value
        if scored.reason is not None:
            self.progress.last = scored.reason

    def _count(self, key: str) -> None:
        """Count an architecture that all predictors have tried."""
        known = self._known[key]
        lacking = any(column not in known for each in self._columns.values() for column in each)
        self.progress.done += 1
        self.progress.again += lacking
        self.progress.without += lacking or None in known.values()

    def _resize(self, count: int, seconds: float) -> None:
        """Make the next chunks as long as this one would have been in the time that a chunk is to take."""
        fitting = int(count * CHUNK_SECONDS / seconds) if seconds > 0 else GROWTH * count
        self._size = max(1, min(fitting, GROWTH * count))
