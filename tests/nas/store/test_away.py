"""Searches whose disk is full, whose trials take too long, and whose store stays away."""

from __future__ import annotations

import shutil
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_runs import WIDE, Fake, evaluate, facts, register, start
from test_sqlite import small_disk as small_disk

from nas.execution import Event
from nas.job import Evaluation, Job, ScoreJob
from nas.progress import Progress
from nas.store import State, StoreError, queries
from nas.study import Study

run = partial(Study.run, content="content")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE)


def test_a_search_on_a_full_disk_waits_for_room_and_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    calm = start(tmp_path, trials=20)
    run(calm, Fake())
    study = start(small_disk, trials=20)
    ballast = small_disk / "ballast"
    submitted: list[int] = []

    def spy(call: str, what: object) -> None:
        if call == "submit" and isinstance(what, Job):
            submitted.append(what.trial)
            if what.trial == 5:
                ballast.write_bytes(b"\0" * shutil.disk_usage(small_disk).free)
                threading.Timer(1.5, ballast.unlink).start()

    said: list[str] = []

    def watch(progress: Progress) -> None:
        said[:] = progress.said

    run(study, Fake(spy=spy), watch)
    assert facts(study) == facts(calm)
    assert submitted == list(range(20)), "a trial was given out again"
    assert len(said) == 2 and "full" in said[0] and "waits up to 600 s" in said[0] and "\n" not in said[0]


def test_a_disk_that_stays_full_ends_the_run_with_the_remedy(small_disk: Path) -> None:
    study = start(small_disk, trials=20)

    def spy(call: str, what: object) -> None:
        if call == "submit" and isinstance(what, Job) and what.trial == 5:
            (small_disk / "ballast").write_bytes(b"\0" * shutil.disk_usage(small_disk).free)

    with pytest.raises(StoreError, match=r"--store-timeout.*nas resume"):
        run(study, Fake(spy=spy), store_timeout=0.5)
    (small_disk / "ballast").unlink()
    run(study, Fake())
    assert [row.state for row in study] == [State.COMPLETED] * 20


def every_other_slow(job: Job) -> Evaluation:
    """Evaluate; every other trial takes 0.15 s an epoch."""
    for report in evaluate(job):
        yield report
        if job.trial % 2:
            time.sleep(0.15)
    return (yield from evaluate(job))


def test_a_trial_that_takes_too_long_is_stopped_with_what_it_had(tmp_path: Path) -> None:
    cancelled: list[str] = []

    def spy(call: str, what: object) -> None:
        if call == "cancel":
            cancelled.append(str(what))

    study = start(tmp_path, trials=4, epochs=6, trial_timeout=0.4)
    run(study, Fake(every_other_slow, spy=spy))
    states = [row.state for row in study]
    assert states == [State.COMPLETED, State.STOPPED] * 2 and len(cancelled) == 2
    for row in study:
        if row.state is State.STOPPED:
            assert row.reason is not None and row.reason.startswith("--trial-timeout of 0.4 s was over at epoch ")
            curve = queries.curves(study.store, row.id)["val_accuracy"]
            assert row.values["accuracy"] == curve[-1][1] and 1 <= len(curve) < 6


def test_a_trial_that_had_nothing_yet_is_stopped_without_values(tmp_path: Path) -> None:
    def stuck(job: Job) -> Evaluation:
        if job.trial == 0:
            for _ in range(3):
                time.sleep(0.1)
                yield next(iter(evaluate(job)))
        return (yield from evaluate(job))

    study = start(tmp_path, trials=2, trial_timeout=0.15)
    run(study, Fake(stuck))
    assert [(row.state, row.values != {}) for row in study] == [(State.STOPPED, False), (State.COMPLETED, True)]


class Renewing(Fake):
    """One whose workers are none any more once they are cancelled, until the driver has listened."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.away: set[str] = set()

    @property
    def workers(self) -> tuple[str, ...]:
        return tuple(worker for worker in super().workers if worker not in self.away)

    def submit(self, worker: str, job: Job | ScoreJob) -> None:
        assert worker in self.workers, f"{worker} has no process"
        super().submit(worker, job)

    def cancel(self, worker: str) -> None:
        super().cancel(worker)
        self.away.add(worker)

    def events(self, timeout: float) -> list[Event]:
        back, self.away = self.away, set()
        return [] if back and not self.work else super().events(timeout)


def test_a_worker_that_is_cancelled_gets_no_job_before_it_is_there_again(tmp_path: Path) -> None:
    study = start(tmp_path, trials=4, epochs=6, trial_timeout=0.4)
    run(study, Renewing(evaluate=every_other_slow))
    assert [row.state for row in study] == [State.COMPLETED, State.STOPPED] * 2
