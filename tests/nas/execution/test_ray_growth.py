"""Workers on a Ray cluster have their share of its nodes, and become more and fewer with them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
from fake_runs import WIDE, evaluate, register, start
from orders import diary, ended, evaluations, following, job, ready, steps, within
from ray.cluster_utils import Cluster
from ray_nodes import RAY, autoscaling

from nas.execution.ray import RayWorkers
from nas.execution.resources import Resources
from nas.job import Evaluate, Evaluation, Job
from nas.settings import SettingsError
from nas.store import State, queries

pytestmark = [pytest.mark.slow, pytest.mark.ray]


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of one node with two CPUs; nodes are added and removed as `ray.cluster_utils.Cluster` does it."""
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield made
    ray.shutdown()
    made.shutdown()


def test_trials_that_take_half_a_cpu_each_run_four_at_a_time_on_two(cluster: Any, tmp_path: Path) -> None:
    executor = RayWorkers(5, Resources(0.5), address=cluster.address, evaluate=evaluations())
    workers = ready(executor, 4)
    works = {worker: job(tmp_path, i, epochs=1, pauses={1}) for i, worker in enumerate(workers)}
    for worker, work in works.items():
        executor.submit(worker, work)
    following(executor, lambda events: all(diary(work) == ["0", "1"] for work in works.values()))
    executor.events(1.0)
    assert (
        executor.workers == workers and executor.lack == "1 of 5 workers wait for a place in the cluster, 0.5 CPU each"
    )
    executor.close()


def test_without_a_number_there_are_as_many_as_fit_and_they_follow_the_nodes(cluster: Any, tmp_path: Path) -> None:
    executor = RayWorkers(address=cluster.address, evaluate=evaluations())
    ready(executor, 2)
    more = cluster.add_node(num_cpus=2)
    workers = ready(executor, 4)
    works = {worker: job(tmp_path, i, epochs=3) for i, worker in enumerate(workers)}
    for worker, work in works.items():
        executor.submit(worker, work)
    events = following(executor, ended(4))
    assert all(steps(events, worker) == [0, 1, 2, 3, "Outcome"] for worker in workers)
    endless = {worker: job(tmp_path, 10 + i, epochs=10_000, sleep=0.02) for i, worker in enumerate(workers)}
    for worker, work in endless.items():
        executor.submit(worker, work)
    following(executor, lambda events: all("3" in diary(work) for work in endless.values()))
    cluster.remove_node(more, allow_graceful=False)
    events = following(executor, ended(2))
    lost = {event.worker for event in events if event.last}
    assert len(lost) == 2 and set(executor.workers) == set(workers) - lost
    executor.close()


def test_they_are_no_more_than_there_is_work_for(cluster: Any) -> None:
    executor = RayWorkers(address=cluster.address, most=1, evaluate=evaluations())
    ready(executor, 1)
    assert executor.events(0.5) == [] and len(executor.workers) == 1 and executor.lack == ""
    executor.close()


def test_a_node_that_joins_a_search_takes_its_part(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, WIDE)
    study = start(tmp_path, trials=10)
    executor = RayWorkers(address=cluster.address, evaluate=from_the_third_on(evaluate, tmp_path / "joined"))
    joined: list[Any] = []

    def watch(progress: Any) -> None:
        if not joined and progress.done >= 2:
            joined.append(cluster.add_node(num_cpus=2))
        if len(executor.workers) > 2:
            (tmp_path / "joined").touch()

    study.run(executor, watch, content="content")
    rows = study.trials()
    assert [row.number for row in rows] == list(range(10)) and {row.state for row in rows} == {State.COMPLETED}
    workers = [attempt.worker for row in rows for attempt in queries.attempts(study.store, row.id)]
    assert len(set(workers[:4])) <= 2 < len(set(workers)) <= 4


def from_the_third_on(inner: Evaluate, signal: Path) -> Evaluate:
    """Evaluate two trials at once, and the others when a file is there."""
    import fake_runs
    from ray import cloudpickle

    cloudpickle.register_pickle_by_value(fake_runs)

    def evaluate(job: Job) -> Evaluation:
        import time

        while job.trial >= 2 and not signal.exists():
            time.sleep(0.05)
        return (yield from inner(job))

    return evaluate


def test_workers_without_a_place_are_demand_that_an_autoscaler_sees(tmp_path: Path) -> None:
    with autoscaling(2) as head:
        executor = RayWorkers(2, address=head.address, evaluate=evaluations())
        workers = ready(executor, 2)
        for i, worker in enumerate(workers):
            executor.submit(worker, job(tmp_path, i, epochs=2))
        events = following(executor, ended(2))
        assert all(steps(events, worker) == [0, 1, 2, "Outcome"] for worker in workers)
        executor.close()


def test_what_nowhere_has_room_is_pending_demand_and_not_a_worker(cluster: Any, tmp_path: Path) -> None:
    executor = RayWorkers(1, Resources(3, 2), address=cluster.address, evaluate=evaluations())
    assert executor.workers == () and executor.events(0.1) == []
    assert executor.lack == "1 of 1 workers wait for a place in the cluster, 3 CPUs and 2 GPUs each"

    def pending() -> bool:
        command = [str(RAY), "status", "--address", cluster.address]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return "{'CPU': 3.0, 'GPU': 2.0}: 1+ pending tasks/actors" in said

    within(60, pending)
    executor.close()


def test_more_workers_than_fit_are_refused_on_a_ray_that_is_up_in_this_process(cluster: Any) -> None:
    cluster.connect()
    with pytest.raises(SettingsError, match=r"--workers 5 is not allowed: .* has room for 4, 0.5 CPU each"):
        RayWorkers(5, Resources(0.5), evaluate=evaluations())
