"""For tests of the loop: spaces without networks, an evaluation without training, executors that err when told to."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa

from nas.execution import Event, Problem, Steps
from nas.job import Evaluate, Evaluation, Infeasible, Job, Outcome, Report, Scored, ScoreJob
from nas.schedules import Verdict
from nas.settings import Settings
from nas.store import State, Store, queries
from nas.store.models import Event as EventRow
from nas.store.models import Metric, Score, Trial
from nas.study import Study
from search_spaces import registry
from search_spaces.decisions import Choice, Integer, Real, Struct, canonical
from search_spaces.registry import Entry
from search_spaces.space import Space

WIDE = Space(
    "wide",
    "for tests",
    Struct(
        network=Struct(width=Integer(1, 40), kind=Choice("a", "b", c=Struct(x=Real(0, 1)))),
        training=Struct(rate=Real(1e-3, 1, log=True)),
    ),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)
TWELVE = Space(
    "twelve",
    "for tests",
    Struct(network=Struct(one=Choice("a", "b", "c"), two=Integer(1, 4))),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)


def register(monkeypatch: pytest.MonkeyPatch, *spaces: Space) -> None:
    """Make spaces known for one test."""
    registry.entries("space")
    for space in spaces:
        entry = Entry("space", space.name, lambda space=space: space, space.summary)
        monkeypatch.setitem(registry._entries["space"], space.name, entry)


def evaluate(job: Job) -> Evaluation:
    """Report the built network and each epoch; every figure is a function of architecture, seed and epoch."""
    params = float(1 + Random(canonical(job.architecture)).randrange(1000))
    yield Report(0, {"params": params})
    for constraint in job.constraints:
        if not constraint.holds({"params": params}):
            raise Infeasible(f"params {params:g} breaks {constraint}")
    accuracy = 0.0
    for epoch in range(1 + (job.origin.step if job.origin else 0), job.epochs + 1):
        noise = Random(f"{canonical(job.architecture)} {job.seed} {epoch}").random()
        accuracy = (1 - 0.5**epoch) * (0.5 + noise / 2)
        yield Report(epoch, {"val_accuracy": accuracy, "val_loss": 1 - accuracy, "rate": 0.1})
    return Outcome({"accuracy": accuracy, "params": params})


class Crash(BaseException):
    """What stands for the death of the driver."""


@dataclass
class Fake:
    """Workers in this process whose events come in an order of chance; `spy` sees every call before it is obeyed."""

    evaluate: Evaluate = evaluate
    count: int = 1
    rng: Random = field(default_factory=lambda: Random(0))
    spy: Callable[[str, Any], None] = lambda call, what: None
    scores: Callable[[Any], float | None] = lambda architecture: 0.0
    device: str = "cpu"
    closed: bool = False
    jobs: list[Job] = field(default_factory=list)
    work: dict[str, Steps | ScoreJob] = field(default_factory=dict)
    paused: set[str] = field(default_factory=set)
    current: dict[str, Job] = field(default_factory=dict)

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(f"fake-{i}" for i in range(self.count))

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        self.spy("submit", job)
        assert worker not in self.work, f"{worker} is busy"
        if isinstance(job, ScoreJob):
            self.work[worker] = job
        else:
            self.jobs.append(job)
            self.work[worker], self.current[worker] = Steps(self.evaluate, job), job

    def events(self, timeout: float) -> list[Event]:
        ready = [worker for worker in self.work if worker not in self.paused]
        assert ready, "the driver waits for workers that wait for it"
        self.rng.shuffle(ready)
        events = [self._event(worker) for worker in ready[: self.rng.randint(1, len(ready))]]
        for event in events:
            self.spy("event", event)
        return events

    def answer(self, worker: str, verdict: Verdict) -> None:
        self.spy("answer", (self.current[worker], verdict))
        self.paused.remove(worker)
        if verdict is not Verdict.CONTINUE:
            del self.work[worker]

    def cancel(self, worker: str) -> None:
        self.spy("cancel", worker)
        self.work.pop(worker, None)
        self.paused.discard(worker)

    def device_of(self, worker: str) -> str:
        return self.device

    def close(self) -> None:
        self.closed = True

    def _event(self, worker: str) -> Event:
        work = self.work[worker]
        if isinstance(work, ScoreJob):
            del self.work[worker]
            return Event(
                worker, [self._score(each, name) for each, name in product(work.architectures, work.predictors)]
            )
        step = work.advance()
        event = Event(worker, step)
        if event.last:
            del self.work[worker]
        elif isinstance(step, Report) and step.step in self.current[worker].pauses:
            self.paused.add(worker)
        return event

    def _score(self, architecture: Any, predictor: str) -> Scored:
        value = self.scores(architecture)
        return Scored(predictor, {predictor: value}, None if value is not None else "cannot be scored", 0.001)


class Losing(Fake):
    """Loses the worker of certain trials, so many times each; -1 stands for screenings.

    A lost worker is none until the driver has listened once more.
    """

    def __init__(self, losses: dict[int, int], **options: Any) -> None:
        super().__init__(**options)
        self.losses = losses
        self.away: set[str] = set()

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(worker for worker in super().workers if worker not in self.away)

    def events(self, timeout: float) -> list[Event]:
        back, self.away = self.away, set()
        if back and not self.work.keys() - self.paused:
            return []
        return super().events(timeout)

    def _event(self, worker: str) -> Event:
        work = self.work[worker]
        number = -1 if isinstance(work, ScoreJob) else self.current[worker].trial
        if self.losses.get(number, 0):
            self.losses[number] -= 1
            self.away.add(worker)
            del self.work[worker]
            return Event(worker, Problem(State.STALE, "the worker was lost: gone"))
        return super()._event(worker)


def start(folder: Path, **settings: Any) -> Study:
    """Make a study in a new store."""
    fields = {"space": "wide", "trials": 10, "epochs": 3, "strategy": "random", "schedule": "none"} | settings
    store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
    return Study.create(store, Settings(**fields), "one")


def reopen(study: Study) -> Study:
    """Open a study as another process does."""
    study.store.engine.dispose()
    return Study(Store.open(study.store.url), study.name)


def crashing_at(moment: int) -> Callable[[str, Any], None]:
    """A spy that ends the driver at a certain call of the executor, counted from 0."""
    calls = iter(range(moment + 1))

    def spy(call: str, what: Any) -> None:
        if next(calls, None) == moment:
            raise Crash

    return spy


def facts(study: Study) -> dict[str, list[tuple[Any, ...]]]:
    """All that a study knows, less what depends on clocks and on how many attempts it took."""
    asks: dict[str, sa.Select[Any]] = {
        "trials": sa.select(
            *(Trial.__table__.c[n] for n in "number kind state identity key repeat parent seed reason".split())
        ).order_by(Trial.number),
        "metrics": sa.select(Trial.number, Metric.step, Metric.name, Metric.value)
        .join(Trial)
        .where(Metric.name != "seconds")
        .order_by(Trial.number, Metric.step, Metric.name),
        "scores": sa.select(Score.identity, Score.predictor, Score.value).order_by(Score.identity),
        "events": sa.select(EventRow.kind, Trial.number, EventRow.payload).outerjoin(Trial).order_by(EventRow.id),
    }
    with study.store.engine.connect() as connection:
        found = {name: [tuple(row) for row in connection.execute(query)] for name, query in asks.items()}
    rows = queries.trials(study.store, study.row.id, queries.Page(kind=None))
    return found | {"values": [(row.number, row.values) for row in rows]}


def finite(values: dict[str, float]) -> bool:
    return all(map(math.isfinite, values.values()))


def kinds(study: Study) -> Iterator[str]:
    return (kind for kind, _, _ in queries.history(study.store, study.row.id))
