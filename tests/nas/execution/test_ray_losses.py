"""Workers, nodes, the head and the driver of a real Ray cluster are lost, and what was under way goes on elsewhere."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from fake_runs import WIDE, Fake, evaluate, register, start
from orders import diary, ended, evaluations, following, gone, job, process, reached, ready, steps, within
from ray_nodes import Head, host, started

from nas.execution import Event, Problem, connection
from nas.execution.errors import ClusterLostError
from nas.execution.ray import RayWorkers
from nas.job import Job, Outcome, Report
from nas.store import State

UNANSWERING = "the worker was lost: its process or its node answers no more"
pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started(lambda: Head(1)) as made:
        yield made


def begun(executor: RayWorkers, works: Mapping[str, Job]) -> list[Event]:
    """Submit jobs and wait until all are at work; return what was heard meanwhile."""
    for worker, work in works.items():
        executor.submit(worker, work)
    return following(executor, lambda events: all("1" in diary(work) for work in works.values()))


def test_a_worker_that_is_killed_is_stale_and_its_trial_goes_on_in_another_process(head: Head, tmp_path: Path) -> None:
    executor = RayWorkers(1, address=head.address, evaluate=evaluations())
    [worker] = ready(executor, 1)
    work = job(tmp_path, epochs=50, sleep=0.05)
    executor.submit(worker, work)
    following(executor, reached(2))
    killed = process(work)
    os.kill(killed, signal.SIGKILL)
    problem = following(executor, ended(1))[-1].what
    assert isinstance(problem, Problem) and problem.state is State.STALE
    assert problem.reason in ("the worker was lost: its process ended", UNANSWERING) and not problem.soiled
    assert executor.workers == ()
    ready(executor, 1)
    executor.submit(worker, work)
    assert steps(following(executor, ended(1)), worker) == [*range(51), "Outcome"] and process(work) != killed
    executor.close()


def test_a_node_that_is_lost_loses_its_trials_alone_and_another_that_joins_takes_them(
    head: Head, tmp_path: Path
) -> None:
    with host() as there:
        head.node(1, there)
        executor = RayWorkers(2, address=head.address, evaluate=evaluations())
        works = {name: job(tmp_path, i, epochs=60, sleep=0.05) for i, name in enumerate(ready(executor, 2))}
        events = begun(executor, works)
        [lost] = [worker for worker, work in works.items() if process(work) in there.pids()]
        [kept] = set(works) - {lost}
        there.kill()
        events += following(executor, ended(1))
        assert events[-1].worker == lost and isinstance(events[-1].what, Problem)
        assert events[-1].what.state is State.STALE and executor.workers == (kept,)
        assert events[-1].what.reason in ("the worker was lost: its node is gone", UNANSWERING)
        assert "1 of 2 workers wait for a place in the cluster, 1 CPU each" == executor.lack
        events += following(executor, ended(1))
        assert steps(events, kept) == [*range(61), "Outcome"]
        head.node(1, there)
        assert lost in ready(executor, 2) and executor.lack == ""
        executor.submit(lost, works[lost])
        assert steps(following(executor, ended(1)), lost) == [*range(61), "Outcome"]
        executor.close()


def test_what_a_worker_says_behind_a_cut_cable_is_not_heard(head: Head, tmp_path: Path) -> None:
    with host() as there:
        head.node(1, there)
        executor = RayWorkers(2, address=head.address, evaluate=evaluations())
        works = {
            name: job(tmp_path, i, epochs=40, pauses={39}, sleep=0.02) for i, name in enumerate(ready(executor, 2))
        }
        events = begun(executor, works)
        [lost] = [worker for worker, work in works.items() if process(work) in there.pids()]
        there.cut()
        events += following(executor, ended(1))
        assert events[-1].worker == lost and isinstance(events[-1].what, Problem)
        assert events[-1].what.state is State.STALE
        there.mend()
        there.kill()
        head.node(1, there)
        ready_again = job(tmp_path, 7, epochs=3)
        within(60, lambda: executor.events(0.2) == [] and lost in executor.workers)
        executor.submit(lost, ready_again)
        events = following(executor, ended(1))
        assert steps(events, lost) == [0, 1, 2, 3, "Outcome"]
        assert {each.what.metrics["trial"] for each in events if isinstance(each.what, Report)} == {7.0}
        executor.close()


def test_when_the_head_is_lost_all_is_kept_and_another_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GIVEN_UP", 3.0)
    register(monkeypatch, WIDE)
    study = start(tmp_path, trials=6, schedule="asha")
    with started(lambda: Head(2)) as head:
        executor = RayWorkers(2, address=head.address, evaluate=waiting_at(3))
        seen: list[int] = []

        def watch(progress: object) -> None:
            seen.append(len(study.trials()))
            if len(seen) > 1 and sum(row.state.ended for row in study.trials()) == 3:
                head.kill()

        with pytest.raises(ClusterLostError, match=f"the Ray cluster at {head.address} was lost.*`nas resume`"):
            study.run(executor, watch, content="content")
    rows = study.trials()
    assert sum(row.state.ended for row in rows) == 3
    study.run(Fake(evaluate), content="content")
    rows = study.trials()
    assert [row.number for row in rows] == list(range(6))
    assert all(row.state in (State.COMPLETED, State.STOPPED) for row in rows)


def waiting_at(number: int):  # type: ignore[no-untyped-def]
    """An evaluation whose trials from a number on do not end."""
    import fake_runs
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(fake_runs)
    inner = evaluate

    def wait(job):  # type: ignore[no-untyped-def]
        import time

        for report in (steps := inner(job)):
            yield report
            while job.trial >= number:
                time.sleep(1)
        del steps
        return Outcome({"accuracy": 0.5, "params": 1.0})

    return wait


DRIVER = """
import sys
from pathlib import Path
from orders import evaluations, following, job, ready
from nas.execution.ray import RayWorkers

executor = RayWorkers(1, address=sys.argv[1], evaluate=evaluations())
[worker] = ready(executor, 1)
executor.submit(worker, job(Path(sys.argv[2]), epochs=10_000, sleep=0.1))
following(executor, lambda events: False, 600)
"""


def test_the_workers_of_a_driver_that_is_killed_end(head: Head, tmp_path: Path) -> None:
    paths = os.pathsep.join(path for path in sys.path if path)
    driver = subprocess.Popen(
        [sys.executable, "-c", DRIVER, head.address, str(tmp_path)], env=os.environ | {"PYTHONPATH": paths}
    )
    work = job(tmp_path)
    try:
        within(60, lambda: "1" in diary(work))
        assert not gone(process(work))
    finally:
        driver.kill()
        driver.wait()
    within(30, lambda: gone(process(work)))
    told = diary(work)
    time.sleep(0.5)
    assert diary(work) == told
