"""The rows of a Tune run: a study that it writes to alone, and what the store has of each trial."""

from __future__ import annotations

import shutil
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.tune.experiment import Trial

from nas.integrations.tune.evaluating import OURS, Plan
from nas.plans import Bench
from nas.progress import Progress
from nas.settings import Settings
from nas.storage import Storage, digest
from nas.store import State, Store, StoreError, Writer, queries
from nas.study import Study
from nas.tasks import find_content
from nas.training.names import WEIGHTS
from search_spaces.decisions import identity

ENGINE = "engine"
TUNE = "tune"


@dataclass
class Member:
    """A Tune trial as the store has it now: its row, and what is known of it."""

    row: int
    number: int
    config: dict[str, Any]
    attempt: int = 0
    running: bool = False
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """What the trainable said of the trial last."""
        return State(self.said.get("state", State.RUNNING))


class Rows:
    """A study that a Tune run of our trainable writes to, and drives until `held` is closed.

    Raises StoreError for a study that is of something else, or that has trials.
    """

    def __init__(
        self, store: Store, name: str, plan: Plan, trials: int, held: ExitStack, progress: Progress | None = None
    ) -> None:
        self.plan = plan
        known = {row.name for row in queries.studies(store)}
        study = Study(store, name) if name in known else Study.create(store, _settings(plan, trials), name)
        _check(study, plan)
        self._seat = held.enter_context(store.driving(name, TUNE))
        self._study = study.row.id
        if queries.tally(store, self._study):
            raise StoreError(f"study {name!r} has trials, and Ray Tune cannot go on with a study: choose another name")
        with self.writing() as writer:
            writer.settings(study.row.settings | {ENGINE: TUNE})
        self.bench = Bench(study.settings, find_content(plan.job.task, plan.job.split_seed), store.folder(name))
        self.progress = progress or Progress(study.settings.trials, self.bench.objectives)
        self._numbers: dict[str, int] = {}
        self._repeats: dict[str, int] = {}
        self._count = 0

    def writing(self) -> AbstractContextManager[Writer]:
        """Write to the study in one transaction."""
        return self._seat.writing(self._study)

    def number(self, trial: str) -> int | None:
        """Return the number of a Tune trial's row, the last one where it has had several."""
        return self._numbers.get(trial)

    def add(self, writer: Writer, trial: Trial, parent: int | None, forked_at: int | None = None) -> Member:
        """Begin a row with what a trial's config says now."""
        number, reading, fork = self._count, self.plan.read(trial.config), forked_at is not None
        named = identity(reading.architecture)
        repeat = 0 if fork else self._repeats.get(named, 0)
        row = writer.add_trial(
            number,
            reading.architecture,
            named,
            self.bench.key(reading.architecture, f"fork {number}" if fork else repeat),
            self.plan.seed(reading),
            repeat=repeat,
            parent=parent,
            forked_at=forked_at,
        )
        self._repeats[named] = self._repeats.get(named, 0) + (not fork)
        self._count += 1
        self._numbers[trial.trial_id] = number
        return Member(row, number, trial.config, step=forked_at or 0)

    def report(self, writer: Writer, member: Member, said: dict[str, Any]) -> None:
        """Keep the metrics of an epoch, and before the first those of the built network."""
        if said["measured"] and not member.metrics:
            writer.report(member.row, 0, said["measured"])
        if said["metrics"]:
            writer.report(member.row, said["step"], said["metrics"])
        member.step, member.said = said["step"], said
        member.metrics |= said["measured"] | said["metrics"]
        self.progress.running[member.number] = member.step
        if said["moved"]:
            self.progress.last = f"trial {member.number}: moved into range: {said['moved']}"

    def stop(self, writer: Writer, member: Member, why: str) -> None:
        """End a trial that was cut short, with the values that it had."""
        after = f" after epoch {member.step}" if member.step else " before its first epoch"
        self.end(writer, member, State.STOPPED, self.values(member), why + after)

    def end(
        self,
        writer: Writer,
        member: Member,
        state: State,
        values: dict[str, float] | None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        """Note how a trial ended."""
        writer.end(member.row, member.attempt, state, values=values, reason=reason, error=error)
        self.progress.note(member.number, state, values)
        if state in (State.FAILED, State.INFEASIBLE):
            self.progress.last = f"trial {member.number} {state}: {reason}"

    def values(self, member: Member) -> dict[str, float] | None:
        """Return the objectives after the last epoch that was reported; None where one is not known yet."""
        known = all((each.metric or each.name) in member.metrics for each in self.bench.objectives)
        return self.bench.reported(member.metrics) if known else None

    def keep_weights(self, writer: Writer, member: Member, trial: Trial) -> None:
        """Take the weights out of a completed trial's last checkpoint, if it has some."""
        if trial.checkpoint is None:
            return
        relative = f"{member.number:05d}/{WEIGHTS}"
        place = self.bench.folder / relative
        with trial.checkpoint.as_directory() as folder:
            source = Path(folder) / WEIGHTS
            if not source.exists():
                return
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, place)
        if self.bench.storage:
            Storage(self.bench.storage).put(place, relative)
        writer.artifact(member.row, "weights", relative, digest(place), place.stat().st_size)


def said_in(result: dict[str, Any]) -> dict[str, Any]:
    """Return what our trainable said in a result for the store; raises StoreError for another's result."""
    said: dict[str, Any] | None = result.get(OURS)
    if said is None:
        raise StoreError("StoreCallback writes down what `nas.integrations.tune.trainable` makes: use that")
    return said


def _settings(plan: Plan, trials: int) -> Settings:
    """Return the settings of a study of a trainable. What proposes is Tune's affair, and not known here."""
    job = plan.job
    return Settings(
        space=job.space,
        task=job.task,
        objectives=job.objectives,
        constraints=tuple(map(str, job.constraints)),
        strategy="random",
        trials=max(trials, 1),
        epochs=job.epochs,
        seed=job.seed,
        split_seed=job.split_seed,
        only=job.only,
    )


def _check(study: Study, plan: Plan) -> None:
    """Refuse a study that is of something else than a trainable."""
    for name in ("space", "only", "task", "objectives", "epochs", "split_seed"):
        theirs, ours = getattr(study.settings, name), getattr(plan.job, name)
        if theirs != ours:
            raise StoreError(
                f"study {study.name!r} has {name} {theirs!r}, but the trainable has {ours!r}: choose another study"
            )
