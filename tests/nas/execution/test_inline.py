"""The worker in this process: what it computes with, and how it is cleaned."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from orders import ended, evaluations, following, job

from nas.execution import Problem
from nas.execution.errors import WorkerBrokenError
from nas.execution.inline import Inline
from nas.execution.resources import Resources
from nas.execution.worker import Worker
from nas.store import State


@pytest.fixture
def threads() -> None:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("cuda", "gpus", "device"), [(False, None, "cpu"), (True, None, "cuda"), (True, 0.5, "cuda"), (True, 0, "cpu")]
)
def test_it_computes_on_a_gpu_where_there_is_one_and_a_trial_may_have_it(
    monkeypatch: pytest.MonkeyPatch, threads: None, cuda: bool, gpus: float | None, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert Inline(resources=Resources(gpus=gpus)).device_of("inline") == device
    assert Worker(None, 1, gpus if gpus is not None else 1).device() == device


@pytest.mark.parametrize(("cpus", "count"), [(0.5, 1), (1, 1), (3, 3)])
def test_on_a_cpu_it_has_a_thread_a_core_of_its_own(threads: None, cpus: float, count: int) -> None:
    Inline(resources=Resources(cpus))
    assert torch.get_num_threads() == count
    torch.set_num_threads(7)
    Worker(None, cpus, 0)
    assert torch.get_num_threads() == count


@pytest.mark.parametrize(("orders", "cleaned"), [({"crowd": 0}, 1), ({"fail": 0}, 0), ({}, 0)])
def test_the_memory_of_the_gpu_is_freed_after_a_lack_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, orders: dict[str, int], cleaned: int
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("emptied"))
    executor = Inline(evaluations())
    executor.submit("inline", job(tmp_path, **orders))
    following(executor, ended(1))
    assert len(calls) == cleaned


def test_a_gpu_that_is_beyond_use_is_said_to_be(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def broken() -> None:
        raise RuntimeError("CUDA error: device-side assert triggered\nCompile with TORCH_USE_CUDA_DSA")

    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "synchronize", broken)
    executor = Inline(evaluations())
    executor.submit("inline", job(tmp_path, cuda=0))
    [event] = following(executor, ended(1))
    assert isinstance(event.what, Problem) and event.what.state is State.FAILED
    with pytest.raises(
        WorkerBrokenError, match=r"GPU any more \(CUDA error: device-side assert triggered\): `nas resume`"
    ):
        executor.submit("inline", job(tmp_path, 1))
