"""A Tune run in our store: each trial a row, each start of an actor an attempt, each epoch its metrics.

Tune's PBT changes the decisions of a trial that it exploits, and ours never change. So there the row of such a trial
ends, as STOPPED, and a new one begins that has the source's row as its parent and the source's epoch as `forked_at`.
Tune calls no callback for an exploit, but it gives the trial a new config object, and the checkpoint that it is to go
on from, which says whose it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from ray import tune
from ray.tune.experiment import Trial

from nas.errors import UserError
from nas.integrations.tune.evaluating import Evaluating
from nas.integrations.tune.failures import failure
from nas.integrations.tune.rows import Member, Rows, said_in
from nas.progress import Progress, Watch
from nas.store import State, Store, StoreError, Writer

Parents = Callable[[str], Sequence[str]]


class StoreCallback(tune.Callback):
    """Writes the trials of a Tune run with our `trainable` to a study, which is made where there is none.

    A study has one such run: Tune cannot go on with a schedule that was interrupted. `parents` says which trials a
    trial descends from (`NasSearcher.parents`); `schedule` names what stops trials; `watch` is shown the progress, from
    the first trial on or that of a `progress` that is given.
    Raises UserError from within the run where the store cannot be written to, or the study is not of the trainable.
    """

    def __init__(
        self,
        store: Store | str = "sqlite:///nas.db",
        study: str = "tune",
        *,
        parents: Parents = lambda trial: (),
        schedule: str = "Ray Tune",
        watch: Watch = lambda progress: None,
        progress: Progress | None = None,
    ) -> None:
        self._store = store
        self._name = study
        self._parents = parents
        self._schedule = schedule
        self.watch = watch
        self.ending = "the run ended"
        self._trials = 0
        self._held = ExitStack()
        self._open: Rows | None = None
        self._members: dict[str, Member] = {}
        self._actors: dict[str, str] = {}
        self.progress = progress
        self.error: UserError | None = None

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles what a run was made with; nobody reads it, and an open store cannot be in it.
        return {"_name": self._name}

    def setup(self, stop: Any = None, num_samples: Any = None, total_num_samples: Any = None, **info: Any) -> None:
        """Learn how many trials there will be."""
        self._trials = total_num_samples or num_samples or 0

    def on_trial_start(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that an actor begins a trial, or goes on with it."""
        with self._writing(trial) as (rows, writer, member):
            if member.attempt:
                writer.release(member.row)
            member.attempt, member.running = member.attempt + 1, True
            writer.start(member.row, member.attempt, self._worker(trial), "cuda" if rows.plan.gpus else "cpu")
            rows.progress.running[member.number] = member.step

    def on_trial_result(
        self, iteration: int, trials: list[Trial], trial: Trial, result: dict[str, Any], **info: Any
    ) -> None:
        """Keep the metrics of an epoch; then see whom the schedule exploited upon it."""
        with self._writing(trial) as (rows, writer, member):
            rows.report(writer, member, said_in(result))
            for other in trials:
                known = self._members.get(other.trial_id)
                if known is not None and known.config is not other.config:
                    self._members[other.trial_id] = self._fork(rows, writer, known, other)

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:
        """See which trials wait now, for which Tune calls no callback."""
        for trial in trials:
            waits = trial.status == Trial.PAUSED and trial.trial_id in self._members
            if waits and self._members[trial.trial_id].running:
                with self._writing(trial) as (rows, writer, member):
                    self._rest(rows, member)
                    writer.pause(member.row, member.attempt)
        if self.error is not None:
            raise self.error  # Where it stops a trial, Tune goes on upon an error.
        if self.progress is not None:
            self.watch(self.progress)

    def on_trial_complete(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note how a trial ended that did not raise an error."""
        with self._writing(trial) as (rows, writer, member):
            if member.state is State.RUNNING:
                rows.stop(writer, member, f"stopped by {self._schedule}")
            elif member.state is State.COMPLETED:
                rows.end(writer, member, State.COMPLETED, rows.values(member))
                rows.keep_weights(writer, member, trial)
            else:
                reason, text = member.said["reason"], member.said["error"]
                rows.end(writer, member, member.state, None, reason, text or reason)
            del self._members[trial.trial_id]

    def on_trial_recover(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that a trial lost its actor, and will begin another attempt."""
        with self._writing(trial) as (rows, writer, member):
            self._rest(rows, member)
            writer.lose(member.row, member.attempt, failure(trial)[0])

    def on_trial_error(self, iteration: int, trials: list[Trial], trial: Trial, **info: Any) -> None:
        """Note that a trial failed, and why."""
        with self._writing(trial) as (rows, writer, member):
            reason, text = failure(trial)
            rows.end(writer, member, State.FAILED, None, reason, text)
            del self._members[trial.trial_id]

    def on_experiment_end(self, trials: list[Trial], **info: Any) -> None:
        """End what is left, and give the study back."""
        self.close()

    def close(self) -> None:
        """End the trials that have not ended, with `ending` as the reason, and give the study back."""
        rows, members = self._open, list(self._members.values())
        self._open = None
        self._members.clear()
        try:
            if rows is not None and members and self.error is None:
                with rows.writing() as writer:
                    for member in members:
                        rows.stop(writer, member, self.ending)
        finally:
            self._held.close()

    @contextmanager
    def _writing(self, trial: Trial) -> Iterator[tuple[Rows, Writer, Member]]:
        """Write of a trial in one transaction; the first one opens the study, and a new one has its row added."""
        try:
            rows = self._opened(trial)
            with rows.writing() as writer:
                yield rows, writer, self._member(rows, writer, trial)
        except UserError as error:
            self.error = error  # Tune hands on only the text of an error.
            raise

    def _opened(self, trial: Trial) -> Rows:
        if self._open is None:
            made: Any = trial.get_trainable_cls()  # type: ignore[no-untyped-call]
            if not (isinstance(made, type) and issubclass(made, Evaluating)):
                raise StoreError("StoreCallback writes down what `nas.integrations.tune.trainable` makes: use that")
            store = self._store if isinstance(self._store, Store) else Store.open(self._store, create=True)
            self._open = Rows(store, self._name, made.plan, self._trials, self._held, self.progress)
            self.progress = self._open.progress
        return self._open

    def _member(self, rows: Rows, writer: Writer, trial: Trial) -> Member:
        if trial.trial_id not in self._members:
            parents = [rows.number(each) for each in self._parents(trial.trial_id)]
            parent = next((each for each in parents if each is not None), None)
            self._members[trial.trial_id] = rows.add(writer, trial, parent)
        return self._members[trial.trial_id]

    def _fork(self, rows: Rows, writer: Writer, member: Member, trial: Trial) -> Member:
        """Let the row of an exploited trial end, and that of the fork begin."""
        assert trial.latest_checkpoint_result is not None
        came_from = trial.latest_checkpoint_result.metrics
        source, step = rows.number(came_from["trial_id"]), int(came_from["training_iteration"])
        reason = f"{self._schedule} went on from trial {source} instead, after epoch {step}"
        rows.end(writer, member, State.STOPPED, rows.values(member), reason)
        rows.progress.total += 1
        return rows.add(writer, trial, source, step)

    def _rest(self, rows: Rows, member: Member) -> None:
        member.running = False
        rows.progress.running.pop(member.number, None)

    def _worker(self, trial: Trial) -> str:
        """Name the actor that a trial runs on: tune-0 is the first one that was seen."""
        actor = repr(trial.temporary_state.ray_actor)
        return self._actors.setdefault(actor, f"tune-{len(self._actors)}")
