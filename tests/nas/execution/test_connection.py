"""What can be wrong with a Ray that is to be joined, each in one line that says what to do."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from orders import ended, evaluations, following, job, process, reached, ready
from ray_nodes import Head, free_port, own_address, started

from nas.execution import Problem, connection
from nas.execution.errors import ClusterError
from nas.execution.ray import RayWorkers
from nas.job import Outcome
from nas.store import State


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("head", "--ray-address 'head' is not allowed: give auto, or HOST:PORT of the cluster's head"),
        ("head:port", "--ray-address 'head:port' is not allowed: give auto, or HOST:PORT"),
        ("ray://head:10001", "--ray-address ray://head:10001 is not allowed: .* on a node of the cluster"),
    ],
)
def test_an_address_that_is_none_is_refused(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message):
        RayWorkers(1, address=address)


def test_an_address_where_nothing_answers_is_named() -> None:
    address = f"{own_address()}:{free_port()}"
    begin = time.monotonic()
    with pytest.raises(ClusterError, match=f"--ray-address {address} cannot be joined: nothing answers .*ray status"):
        RayWorkers(1, address=address)
    assert time.monotonic() - begin < 20


@pytest.mark.slow
@pytest.mark.ray
def test_where_no_cluster_is_found_it_is_said_how_to_start_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(address: str) -> str:
        raise ConnectionError("Could not find any running Ray instance. Please specify the one to connect to.")

    monkeypatch.setattr("ray._private.services.canonicalize_bootstrap_address_or_die", none)
    with pytest.raises(
        ClusterError, match=r"--ray-address auto finds no cluster: .*; start one with `ray start --head`"
    ):
        RayWorkers(1, address="auto")


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started(lambda: Head(1)) as made:
        yield made


JOIN = """
import sys
from nas.execution.errors import ClusterError
from nas.execution.ray import RayWorkers
from nas.job import Outcome

try:
    executor = RayWorkers(1, address=sys.argv[1], evaluate=lambda job: None)
    print("joined", *executor.workers)
    executor.close()
except ClusterError as error:
    print(error)
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "f" * 64}, "missing or incorrect"),
        ({"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": ""}, "missing or incorrect"),
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "HOME": "/nowhere"}, "no authentication token was found"),
        ({}, "joined ray-0"),
    ],
    ids=["wrong", "disabled", "none", "right"],
)
def test_without_the_token_of_the_cluster_it_is_said_where_it_belongs(
    head: Head, variables: dict[str, str], message: str
) -> None:
    environment = {name: value for name, value in (os.environ | variables).items() if value}
    begin = time.monotonic()
    ran = subprocess.run(
        [sys.executable, "-c", JOIN, head.address], env=environment, capture_output=True, text=True, timeout=120
    )
    [said] = ran.stdout.splitlines()
    assert message in said, ran.stderr
    if variables:
        assert said.startswith(f"--ray-address {head.address} cannot be joined: ")
        assert "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN here" in said and time.monotonic() - begin < 15


class Absent:
    """What cannot be made where it arrives, as when a package is missing there."""

    def __reduce__(self) -> Any:
        return __import__, ("a_package_that_is_missing",)


@pytest.mark.slow
@pytest.mark.ray
def test_workers_that_lack_a_package_are_an_error_at_once(head: Head) -> None:
    begin = time.monotonic()
    with pytest.raises(
        ClusterError, match=r"the workers cannot start: .*No module named 'a_package_that_is_missing'; see .* plug-ins"
    ):
        RayWorkers(1, address=head.address, evaluate=Absent())  # type: ignore[arg-type]
    assert time.monotonic() - begin < 60


class Twice:
    """An evaluation that arrives in two processes, and in no other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        arrived = f"[open('{self.folder}/' + str(os.getpid()), 'w'), len(os.listdir('{self.folder}'))][1] <= 2"
        return eval, (f"(lambda os: obey if {arrived} else missing)(__import__('os'))", {"obey": evaluations()})


@pytest.mark.slow
@pytest.mark.ray
def test_a_worker_that_cannot_be_renewed_is_given_up_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "arrived").mkdir()
    executor = RayWorkers(2, evaluate=Twice(tmp_path / "arrived"))  # type: ignore[arg-type]
    soiled, other = executor.workers
    executor.submit(soiled, job(tmp_path, crowd=0))
    following(executor, ended(1))
    executor.submit(other, job(tmp_path, 1, epochs=10_000, sleep=0.02))
    heard = following(executor, lambda events: bool(executor.lack) and "cannot start" in executor.lack)
    assert not any(event.last for event in heard) and executor.workers == (other,)
    assert executor.lack.startswith("1 of 2 workers are not there: the workers cannot start: NameError: ")
    executor.cancel(other)
    executor.submit(other, job(tmp_path, 2, epochs=1))
    assert isinstance(following(executor, ended(1))[-1].what, Outcome)
    executor.close()


@pytest.mark.slow
@pytest.mark.ray
def test_no_worker_is_given_up_while_the_head_does_not_answer(
    head: Head, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = RayWorkers(1, address=head.address, evaluate=evaluations())
    [worker], work = ready(executor, 1), job(tmp_path, epochs=10_000, sleep=0.05)
    executor.submit(worker, work)
    following(executor, reached(2))
    there = connection._connects
    monkeypatch.setattr(connection, "_connects", lambda family, address: False)
    os.kill(process(work), signal.SIGKILL)
    begin, heard = time.monotonic(), []
    while time.monotonic() - begin < 4:
        heard += executor.events(0.1)
    assert not any(event.last for event in heard) and executor.workers == (worker,)
    monkeypatch.setattr(connection, "_connects", there)
    problem = following(executor, ended(1))[-1].what
    assert isinstance(problem, Problem) and problem.state is State.STALE
    executor.close()
