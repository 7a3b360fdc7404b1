"""Paused, cancelled and forked trials on the virtual clock, each worked by hand: an epoch takes a second."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TWELVE

from nas.execution import Event
from nas.execution.simulated import VirtualWorkers
from nas.job import Job, Origin, Report
from nas.schedules import Verdict
from nas.tasks.function import Function

EPOCHS = 4


def curve(architecture: Any) -> list[dict[str, float]]:
    return [{"val_accuracy": epoch / 10, "params": 5.0, "seconds": 1.0} for epoch in range(1, EPOCHS + 1)]


def job(number: int, *pauses: int) -> Job:
    return Job(number, 1, {"one": "a"}, number, epochs=EPOCHS, objectives=("accuracy",), pauses=frozenset(pauses))


def virtual(workers: int = 1) -> VirtualWorkers:
    return VirtualWorkers(Function(curve), TWELVE, workers)


def told(events: list[Event]) -> list[tuple[str, int | str, float | None]]:
    """Worker, step and clock of each event."""
    return [
        (each.worker, each.what.step, each.what.metrics["clock"])
        if isinstance(each.what, Report)
        else (each.worker, type(each.what).__name__, None)
        for each in events
    ]


def until(executor: VirtualWorkers, count: int) -> list[tuple[str, int | str, float | None]]:
    found: list[Event] = []
    while len(found) < count:
        found += executor.events(0)
    return told(found)


def test_a_paused_trial_tells_at_once_what_it_told_and_only_its_next_epoch_takes_time() -> None:
    executor = virtual()
    executor.submit("virtual-0", job(0, 2))
    assert until(executor, 3) == [("virtual-0", step, float(step)) for step in (0, 1, 2)]
    executor.answer("virtual-0", Verdict.PAUSE)
    executor.submit("virtual-0", job(1))
    assert until(executor, 6)[-2:] == [("virtual-0", 4, 6.0), ("virtual-0", "Outcome", None)]
    executor.submit("virtual-0", job(0, 2))
    assert until(executor, 3) == [("virtual-0", step, float(step)) for step in (0, 1, 2)] and executor.clock == 6.0
    executor.answer("virtual-0", Verdict.CONTINUE)
    assert until(executor, 3) == [("virtual-0", 3, 7.0), ("virtual-0", 4, 8.0), ("virtual-0", "Outcome", None)]


def test_a_trial_that_is_paused_twice_keeps_the_times_of_both() -> None:
    executor = virtual()
    executor.submit("virtual-0", job(0, 1, 2))
    until(executor, 2)
    for number, pause in ((1, 1), (2, 2)):
        executor.answer("virtual-0", Verdict.PAUSE)
        executor.submit("virtual-0", job(number))
        until(executor, 6)
        executor.submit("virtual-0", job(0, 1, 2))
        assert until(executor, 2) == [("virtual-0", 0, 0.0), ("virtual-0", 1, 1.0)]
        executor.answer("virtual-0", Verdict.CONTINUE)
        assert until(executor, 1) == [("virtual-0", 2, 6.0)]
        if pause == 2:
            executor.answer("virtual-0", Verdict.CONTINUE)
    assert until(executor, 3) == [("virtual-0", 3, 11.0), ("virtual-0", 4, 12.0), ("virtual-0", "Outcome", None)]


def test_a_stopped_trial_is_forgotten_and_would_begin_anew() -> None:
    executor = virtual()
    executor.submit("virtual-0", job(0, 2))
    until(executor, 3)
    executor.answer("virtual-0", Verdict.STOP)
    executor.submit("virtual-0", job(0, 2))
    assert until(executor, 3) == [("virtual-0", step, 2.0 + step) for step in (0, 1, 2)]


def test_a_fork_tells_of_the_built_network_and_of_what_comes_after_its_origin() -> None:
    executor = virtual()
    executor.submit("virtual-0", replace(job(7, 2, 3), origin=Origin(Path("other"), 2, {"one": "b"}, 1)))
    assert until(executor, 2) == [("virtual-0", 0, 0.0), ("virtual-0", 3, 1.0)]
    assert executor.events(0) == []
    executor.answer("virtual-0", Verdict.CONTINUE)
    assert until(executor, 2) == [("virtual-0", 4, 2.0), ("virtual-0", "Outcome", None)]


@pytest.mark.parametrize("pauses", [(), (1,)])
def test_a_cancelled_trial_is_heard_of_no_more_and_its_worker_is_free(pauses: tuple[int, ...]) -> None:
    executor = virtual(2)
    executor.submit("virtual-0", job(0, *pauses))
    executor.submit("virtual-1", job(1))
    until(executor, 4)
    executor.cancel("virtual-0")
    executor.cancel("virtual-0")
    assert all(worker == "virtual-1" for worker, *_ in until(executor, 1))
    executor.submit("virtual-0", job(2))
    rest = until(executor, 8)
    assert [step for worker, step, _ in rest if worker == "virtual-0"] == [0, 1, 2, 3, 4, "Outcome"]
