"""Executors: in this process, and on two workers of a local Ray."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_runs import WIDE, evaluate, register, start
from orders import diary, ended, evaluations, following, gone, job, process, reached, ready, steps, within

from nas.execution import Event, Executor, Problem
from nas.execution.inline import Inline
from nas.job import Evaluate, Evaluation, Infeasible, Job, Outcome, Report, ScoreJob
from nas.schedules import Verdict
from nas.settings import SettingsError
from nas.store import State, queries
from nas.study import make_executor


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray for all tests here, which the executors join."""
    import ray

    ray.init(num_cpus=5, num_gpus=0, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.fixture(scope="module")
def pair(cluster: None) -> Iterator[Executor]:
    from nas.execution.ray import RayWorkers

    executor = RayWorkers(2, evaluate=evaluations())
    yield executor
    executor.close()


@pytest.fixture(params=["inline", pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.ray])])
def executor(request: pytest.FixtureRequest) -> Executor:
    """The contract of both; Ray's workers are reused from test to test, as they are from trial to trial."""
    return Inline(evaluations()) if request.param == "inline" else request.getfixturevalue("pair")


def test_a_job_reports_each_step_and_its_outcome(executor: Executor, tmp_path: Path) -> None:
    worker, work = executor.workers[0], job(tmp_path)
    executor.submit(worker, work)
    events = following(executor, ended(1))
    assert steps(events, worker) == [0, 1, 2, 3, 4, "Outcome"] and diary(work)[-2:] == ["done", "closed"]
    assert events[-1].what == Outcome({"accuracy": 0.5, "params": 7.0}) and executor.device_of(worker) == "cpu"
    assert executor.events(0.05) == []


def test_nothing_runs_past_a_pause_before_the_answer(executor: Executor, tmp_path: Path) -> None:
    worker, work = executor.workers[0], job(tmp_path, epochs=5, pauses={2, 3, 5})
    executor.submit(worker, work)
    for pause, before in ((2, [0, 1, 2]), (3, [3]), (5, [4, 5])):
        assert steps(following(executor, reached(pause)), worker) == before
        assert executor.events(0.5) == []
        assert diary(work)[-1] == str(pause)
        executor.answer(worker, Verdict.CONTINUE)
    assert steps(following(executor, ended(1)), worker) == ["Outcome"]


def test_a_stopped_job_is_closed_and_its_worker_free(executor: Executor, tmp_path: Path) -> None:
    worker, work, after = executor.workers[0], job(tmp_path, pauses={1}), job(tmp_path, 1, epochs=1)
    executor.submit(worker, work)
    following(executor, reached(1))
    executor.answer(worker, Verdict.STOP)
    executor.submit(worker, after)
    events = following(executor, ended(1))
    assert steps(events, worker) == [0, 1, "Outcome"] and events[0].what.metrics["trial"] == 1.0  # type: ignore[union-attr]
    assert diary(work) == ["0", "1", "closed"]


def test_a_paused_job_is_closed_and_its_worker_free_and_later_it_tells_all_again(
    executor: Executor, tmp_path: Path
) -> None:
    worker, work, between = executor.workers[0], job(tmp_path, pauses={1, 3}), job(tmp_path, 1, epochs=1)
    executor.submit(worker, work)
    following(executor, reached(1))
    executor.answer(worker, Verdict.PAUSE)
    executor.submit(worker, between)
    assert steps(following(executor, ended(1)), worker) == [0, 1, "Outcome"]
    assert diary(work) == ["0", "1", "closed"]
    executor.submit(worker, work)
    for pause, before in ((1, [0, 1]), (3, [2, 3])):
        assert steps(following(executor, reached(pause)), worker) == before
        executor.answer(worker, Verdict.CONTINUE)
    assert steps(following(executor, ended(1)), worker) == [4, "Outcome"]


@pytest.mark.parametrize("begun", [1, 2, 4])
def test_a_forked_job_waits_at_the_pauses_after_its_origin(executor: Executor, tmp_path: Path, begun: int) -> None:
    worker, work = executor.workers[0], job(tmp_path, epochs=5, pauses={2, 4}, begun=begun)
    executor.submit(worker, work)
    for pause in (each for each in (2, 4) if each > begun):
        following(executor, reached(pause))
        assert executor.events(0.3) == [] and diary(work)[-1] == str(pause)
        executor.answer(worker, Verdict.CONTINUE)
    following(executor, ended(1))
    assert diary(work) == ["0", *map(str, range(begun + 1, 6)), "done", "closed"]


def test_a_cancelled_job_is_heard_of_no_more(executor: Executor, tmp_path: Path) -> None:
    [worker, *_], work = ready(executor, 1), job(tmp_path, epochs=10_000, sleep=0.01)
    executor.submit(worker, work)
    following(executor, reached(3))
    executor.cancel(worker)
    told = diary(work)
    assert told[-1] == "closed" and executor.events(0.3) == [] and diary(work) == told
    executor.submit(worker, job(tmp_path, 1, epochs=1))
    events = following(executor, ended(1))
    assert steps(events, worker) == [0, 1, "Outcome"] and events[0].what.metrics["trial"] == 1.0  # type: ignore[union-attr]


def test_a_job_that_waits_at_a_pause_can_be_cancelled_and_so_can_nothing(executor: Executor, tmp_path: Path) -> None:
    worker, work = executor.workers[0], job(tmp_path, pauses={1})
    executor.submit(worker, work)
    following(executor, reached(1))
    executor.cancel(worker)
    executor.cancel(worker)
    assert diary(work) == ["0", "1", "closed"]
    executor.submit(worker, job(tmp_path, 1, epochs=1))
    assert steps(following(executor, ended(1)), worker) == [0, 1, "Outcome"]


@pytest.mark.parametrize(
    ("orders", "state", "reason"),
    [
        ({"crowd": 1}, State.INFEASIBLE, "out of memory: no room"),
        ({"starve": 1}, State.INFEASIBLE, "out of memory: MemoryError"),
        ({"cuda": 1}, State.FAILED, "RuntimeError: CUDA error: an illegal memory access was encountered"),
    ],
)
def test_after_a_lack_of_memory_or_a_broken_gpu_the_process_is_a_clean_one(
    executor: Executor, tmp_path: Path, orders: dict[str, int], state: State, reason: str
) -> None:
    worker, soiling, after = executor.workers[0], job(tmp_path, **orders), job(tmp_path, 1, epochs=1)
    executor.submit(worker, soiling)
    problem = following(executor, ended(1))[-1].what
    assert isinstance(problem, Problem) and (problem.state, problem.reason, problem.soiled) == (state, reason, True)
    ready(executor, 2 if worker != "inline" else 1)
    executor.submit(worker, after)
    assert steps(following(executor, ended(1)), worker) == [0, 1, "Outcome"]
    assert (process(after) == process(soiling)) is (worker == "inline")


@pytest.mark.parametrize("step", [0, 1, 4])
def test_an_exception_is_a_failure_with_its_traceback(executor: Executor, tmp_path: Path, step: int) -> None:
    worker = executor.workers[0]
    executor.submit(worker, job(tmp_path, fail=step))
    problem = following(executor, ended(1))[-1].what
    assert isinstance(problem, Problem) and problem.state is State.FAILED
    assert problem.reason == "ValueError: a bad shape"
    assert (
        not problem.soiled
        and problem.traceback is not None
        and "in obey" in problem.traceback
        and "and more" in problem.traceback
    )
    executor.submit(worker, job(tmp_path, 1, epochs=1))
    assert steps(following(executor, ended(1)), worker) == [0, 1, "Outcome"]


def test_what_cannot_be_is_infeasible(executor: Executor, tmp_path: Path) -> None:
    executor.submit(executor.workers[0], job(tmp_path, infeasible=0))
    [event] = following(executor, ended(1))
    assert event.what == Problem(State.INFEASIBLE, "params 7 breaks params<=3")


def test_proposals_are_scored_or_say_why_not(executor: Executor) -> None:
    proposals = ({"network": 1}, {"network": 2})
    executor.submit(executor.workers[0], ScoreJob(("gradsign", "params"), proposals, 0, "kan_vision", "digits", 0))
    [event] = following(executor, ended(1))
    assert isinstance(event.what, list)
    assert [scored.values for scored in event.what] == [{"gradsign": None}, {"params": None}] * 2
    assert all("network" in str(scored.reason) for scored in event.what)


def test_inline_is_quiet_while_it_waits_and_after_its_end(tmp_path: Path) -> None:
    executor, work = Inline(evaluations()), job(tmp_path)
    assert executor.events(0.1) == []
    executor.submit("inline", work)
    executor.events(0.1)
    executor.close()
    assert executor.events(0.1) == [] and diary(work) == ["0", "closed"]


@pytest.mark.slow
@pytest.mark.ray
def test_two_workers_of_ray_work_side_by_side(pair: Executor, tmp_path: Path) -> None:
    works = {worker: job(tmp_path, number, epochs=3) for number, worker in enumerate(ready(pair, 2))}
    for worker, work in works.items():
        pair.submit(worker, work)
    events = following(pair, ended(2))
    for worker, work in works.items():
        assert steps(events, worker) == [0, 1, 2, 3, "Outcome"]
        told = [event.what for event in events if event.worker == worker and isinstance(event.what, Report)]
        assert {report.metrics["trial"] for report in told} == {float(work.trial)}


@pytest.mark.slow
@pytest.mark.ray
def test_ray_works_ahead_of_the_driver_but_not_far(pair: Executor, tmp_path: Path) -> None:
    work = job(tmp_path, epochs=30)
    pair.submit(pair.workers[0], work)
    following(pair, reached(3))
    time.sleep(1.0)
    assert 4 <= int(diary(work)[-1]) <= 6
    assert steps(following(pair, ended(1)), pair.workers[0])[-1] == "Outcome"


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("step", [0, 2])
def test_a_dead_worker_of_ray_is_stale_and_another_takes_its_place(pair: Executor, tmp_path: Path, step: int) -> None:
    doomed, other = ready(pair, 2)
    pair.submit(doomed, job(tmp_path, 0, die=step))
    pair.submit(other, job(tmp_path, 1))
    events = following(pair, ended(2))
    last = {event.worker: event.what for event in events if event.last}
    assert isinstance(last[doomed], Problem) and last[doomed].state is State.STALE  # type: ignore[union-attr]
    assert "worker was lost" in last[doomed].reason and isinstance(last[other], Outcome)  # type: ignore[union-attr]
    pair.submit(doomed, job(tmp_path, 2, epochs=1))
    assert steps(following(pair, ended(1)), doomed) == [0, 1, "Outcome"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_step_that_takes_long_is_ended_with_its_process(pair: Executor, tmp_path: Path) -> None:
    endless, other, after = job(tmp_path, sleep=600), job(tmp_path, 1, epochs=20, sleep=0.1), job(tmp_path, 2, epochs=1)
    doomed, healthy = ready(pair, 2)
    pair.submit(doomed, endless)
    pair.submit(healthy, other)
    while not diary(endless):
        time.sleep(0.05)
    pair.cancel(doomed)
    assert doomed not in pair.workers
    within(20, lambda: gone(process(endless)))
    events = following(pair, ended(1))
    assert {event.worker for event in events} == {healthy} and events[-1].what == Outcome(
        {"accuracy": 0.5, "params": 7.0}
    )
    assert doomed in ready(pair, 2)
    pair.submit(doomed, after)
    assert steps(following(pair, ended(1)), doomed) == [0, 1, "Outcome"] and diary(endless) == ["0"]


@pytest.mark.slow
@pytest.mark.ray
def test_more_workers_than_a_ray_that_is_up_has_cpus_for_are_refused(cluster: None) -> None:
    from nas.execution.ray import RayWorkers

    with pytest.raises(
        SettingsError, match="--workers 6 is not allowed: the Ray that is up has room for 5, 1 CPU each"
    ):
        RayWorkers(6, evaluate=evaluations())


@pytest.mark.slow
@pytest.mark.ray
def test_what_ray_cannot_send_is_a_failure(pair: Executor, tmp_path: Path) -> None:
    pair.submit(pair.workers[0], job(tmp_path, unsendable=1))
    problem = following(pair, ended(1))[-1].what
    assert isinstance(problem, Problem) and problem.state is State.FAILED and problem.traceback is not None
    pair.submit(pair.workers[0], job(tmp_path, 1, epochs=1))
    assert steps(following(pair, ended(1)), pair.workers[0]) == [0, 1, "Outcome"]


@pytest.mark.slow
@pytest.mark.ray
def test_a_study_on_ray_is_complete_though_a_worker_dies(
    cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.execution.ray import RayWorkers

    register(monkeypatch, WIDE)
    study = start(tmp_path, trials=12, schedule="asha", strategy="tpe")
    study.run(RayWorkers(2, evaluate=dying(evaluate)), content="content")
    rows = study.trials()
    assert [row.number for row in rows] == list(range(12))
    assert all(row.state in (State.COMPLETED, State.STOPPED) for row in rows)
    assert [len(queries.attempts(study.store, row.id)) for row in rows] == [2 if i == 3 else 1 for i in range(12)]
    for row in rows:
        reports = list(evaluate(Job(row.number, 1, row.architecture, row.seed, epochs=3)))[: (row.step or 0) + 1]
        curve = queries.curves(study.store, row.id)["val_accuracy"]
        assert curve == [(report.step, report.metrics["val_accuracy"]) for report in reports[1:]]


def dying(inner: Evaluate) -> Evaluate:
    """The same evaluation, but the first attempt of trial 3 takes its process with it."""
    import fake_runs
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(fake_runs)

    def evaluate(job: Job) -> Evaluation:
        import os

        if job.trial == 3 and job.attempt == 1:
            yield next(inner(job))
            os._exit(1)
        return (yield from inner(job))

    return evaluate


ALONE = """
import os, time
from pathlib import Path

def descendants():
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {os.getpid()}

from nas.execution.ray import RayWorkers
executor = RayWorkers(2, evaluate=lambda job: None)
assert executor.device_of(executor.workers[0]) == "cpu"
ours = descendants()
assert len(ours) >= 4, ours
executor.close()
deadline = time.monotonic() + 20
while left := {pid for pid in ours if Path(f"/proc/{pid}").exists()} & descendants() and time.monotonic() < deadline:
    time.sleep(0.2)
left = [Path(f"/proc/{pid}/cmdline").read_text() for pid in ours & descendants()]
assert not left, left
import ray
assert not ray.is_initialized()
"""


@pytest.mark.slow
@pytest.mark.ray
def test_closing_ends_the_ray_that_it_started() -> None:
    ran = subprocess.run([sys.executable, "-c", ALONE], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr


@pytest.mark.parametrize("workers", [0, -2])
def test_there_is_no_executor_of_no_workers(workers: int) -> None:
    with pytest.raises(SettingsError, match=f"--workers {workers} is not allowed: it must be at least 1"):
        make_executor(workers)


def test_one_worker_is_this_process() -> None:
    assert isinstance(make_executor(1), Inline)


def test_a_job_may_raise_before_its_first_report(tmp_path: Path) -> None:
    def refuse(job: Job) -> Evaluation:
        raise Infeasible("not today")
        yield

    executor = Inline(refuse)
    executor.submit("inline", job(tmp_path))
    assert executor.events(0) == [Event("inline", Problem(State.INFEASIBLE, "not today"))]
