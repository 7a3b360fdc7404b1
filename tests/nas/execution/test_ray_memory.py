"""A trial that takes more memory than its node has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from orders import ended, evaluations, following, job, process, ready, steps
from ray_nodes import Head, started

from nas.execution import Problem
from nas.execution.ray import RayWorkers
from nas.store import State

pytestmark = [pytest.mark.slow, pytest.mark.ray]
LEAST = 4 * 2**30


@pytest.fixture
def room() -> int:
    """Bytes of memory that are free."""
    from ray._common.utils import get_system_memory
    from ray._private.utils import get_used_memory

    free = int(get_system_memory() - get_used_memory())
    if free < LEAST:
        pytest.skip(f"this needs {LEAST} bytes of memory, and {free} are free")
    return free


@pytest.fixture
def head(room: int) -> Iterator[Head]:
    """A cluster whose Ray ends what takes more than a quarter of the memory that is free now."""
    from ray._common.utils import get_system_memory

    total = get_system_memory()
    threshold = (total - 0.75 * room) / total
    variables = {"RAY_memory_usage_threshold": f"{threshold:.4f}", "RAY_memory_monitor_refresh_ms": "50"}
    with started(lambda: Head(1, variables=variables)) as made:
        yield made


def test_a_trial_that_ray_ends_for_its_memory_is_infeasible_and_the_next_has_a_clean_process(
    head: Head, room: int, tmp_path: Path
) -> None:
    executor = RayWorkers(1, address=head.address, evaluate=evaluations())
    [worker] = ready(executor, 1)
    hog, after = job(tmp_path, hog=1, megabytes=int(0.7 * room) >> 20), job(tmp_path, 1, epochs=1)
    executor.submit(worker, hog)
    problem = following(executor, ended(1))[-1].what
    assert isinstance(problem, Problem) and problem.state is State.INFEASIBLE and problem.soiled
    assert problem.reason.startswith("out of memory: ") and "\n" not in problem.reason
    ready(executor, 1)
    executor.submit(worker, after)
    assert steps(following(executor, ended(1)), worker) == [0, 1, "Outcome"] and process(after) != process(hog)
    executor.close()
