"""Which checkpoints stay: all that a trial under way may need, those of the best, and nothing else."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_runs import WIDE, Crash, Fake, crashing_at, evaluate, register, reopen, start
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from test_scheduled_studies import TUNED

from nas.job import Artifact, Evaluation, Job, Report
from nas.store import State, StoreAway, queries
from nas.store.sql_writer import SqlWriter
from nas.study import Study
from nas.training.names import CHECKPOINT, retained

run = partial(Study.run, content="content")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TUNED, WIDE)


def writing(job: Job) -> Evaluation:
    """Evaluate as workers do: every epoch leaves a checkpoint, and nobody begins without the one that he needs."""
    own = job.folder / CHECKPOINT
    done = int(own.read_text()) if own.exists() else 0
    if job.origin is not None and not done:
        assert (job.origin.folder / retained(job.origin.step)).read_text() == str(job.origin.step)
    if job.attempt > 1 and job.pauses and done == 0:
        assert job.origin is not None or not (job.folder / "begun").exists(), "a paused trial lost its checkpoint"
    job.folder.mkdir(parents=True, exist_ok=True)
    steps = evaluate(job)
    while True:
        try:
            report = next(steps)
        except StopIteration as end:
            content = own.read_bytes()
            left = Artifact(f"{job.folder.name}/{CHECKPOINT}", hashlib.sha256(content).hexdigest(), len(content))
            end.value.artifacts["checkpoint"] = left
            return end.value
        if report.step > done:
            if job.retain and report.step in job.pauses:
                (job.folder / retained(report.step)).write_text(str(report.step))
                (job.folder / "begun").touch()
            own.write_text(str(report.step))
        yield Report(report.step, report.metrics)


def left(study: Study) -> dict[str, set[str]]:
    """The checkpoints on disk by trial."""
    found: dict[str, set[str]] = {}
    for file in study.store.folder("one").glob("*/checkpoint*"):
        found.setdefault(file.parent.name, set()).add(file.name)
    return found


@given(
    workers=st.integers(1, 5),
    seed=st.integers(0, 99),
    crashes=st.lists(st.integers(0, 90), max_size=3),
    schedule=st.sampled_from(["pbt", "hyperband"]),
)
@settings(max_examples=25, deadline=None, phases=(Phase.explicit, Phase.generate))
def test_what_a_trial_needs_is_there_and_nothing_is_left(
    tmp_path_factory: pytest.TempPathFactory, workers: int, seed: int, crashes: list[int], schedule: str
) -> None:
    asked: dict[str, Any] = {"space": "tuned", "objectives": ("accuracy",), "trials": 8, "epochs": 7, "seed": seed}
    options = {"interval": 2, "quantile": 0.4} if schedule == "pbt" else {}
    study = start(tmp_path_factory.mktemp("kept"), schedule=schedule, schedule_options=options, **asked)
    rng = Random(seed)
    for moment in [*crashes, 10**9]:
        try:
            run(study, Fake(writing, count=workers, rng=rng, spy=crashing_at(moment)))
        except Crash:
            pass
        study = reopen(study)
    bad = [row.reason for row in study if row.state not in (State.COMPLETED, State.STOPPED)]
    assert bad == []
    assert left(study) == {}


@pytest.mark.parametrize("objectives", [("accuracy",), ("accuracy", "params")])
def test_the_best_keep_their_checkpoints(tmp_path: Path, objectives: tuple[str, ...]) -> None:
    study = start(tmp_path, trials=12, keep_checkpoints=3, objectives=objectives)
    for moment in (9, 31, 10**9):
        try:
            run(study, Fake(writing, count=2, rng=Random(1), spy=crashing_at(moment)))
        except Crash:
            pass
        study = reopen(study)
    kept = {row: path for row, path, _ in queries.artifacts_of(study.store, study.row.id, "checkpoint")}
    assert sorted(left(study)) == sorted(path.partition("/")[0] for path in kept.values()) and len(kept) == 3
    rows = {row.id: row for row in study}
    if len(objectives) == 1:
        best = sorted(study, key=lambda row: -row.values["accuracy"])[:3]
        assert {row.id for row in best} == set(kept)
    else:
        front = {row.id for row in study.front()}
        assert len(front & set(kept)) == min(3, len(front))
    for row, path in kept.items():
        assert path == f"{rows[row].number:05d}/{CHECKPOINT}"


def test_without_a_wish_no_ended_trial_keeps_its_checkpoint(tmp_path: Path) -> None:
    study = start(tmp_path, trials=4)
    run(study, Fake(writing))
    assert left(study) == {} and queries.artifacts_of(study.store, study.row.id, "checkpoint") == []


def test_a_round_that_came_not_to_be_written_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = start(tmp_path, trials=12, epochs=2, keep_checkpoints=1, objectives=("accuracy",))
    flush, calls, failed = SqlWriter.flush, count(), list[int]()
    rng = Random(0)

    def failing(writer: SqlWriter) -> None:
        call = next(calls)
        if rng.random() < 0.3:
            failed.append(call)
            raise StoreAway("the disk is full")
        flush(writer)

    monkeypatch.setattr(SqlWriter, "flush", failing)
    monkeypatch.setattr("nas.loop.TICK", 0.01)
    run(study, Fake(writing))
    [(row, path, _)] = queries.artifacts_of(study.store, study.row.id, "checkpoint")
    assert len(failed) > 5 and row == max(study, key=lambda row: row.values["accuracy"]).id
    assert left(study) == {path.partition("/")[0]: {CHECKPOINT}}
