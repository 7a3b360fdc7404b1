"""What a trial takes of a machine and of a cluster's nodes, against counts by hand."""

from __future__ import annotations

import os
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.execution import resources
from nas.execution.resources import Resources
from nas.settings import SettingsError


@pytest.mark.parametrize(
    ("cpus", "gpus", "there", "count"),
    [
        (1, 0, {"CPU": 4}, 4),
        (0.5, 0, {"CPU": 2}, 4),
        (0.1, 0, {"CPU": 0.3}, 3),
        (3, 0, {"CPU": 8}, 2),
        (1, 0.25, {"CPU": 8, "GPU": 1}, 4),
        (4, 0.25, {"CPU": 8, "GPU": 1}, 2),
        (1, 2, {"CPU": 8, "GPU": 5}, 2),
        (1, 1, {"CPU": 8}, 0),
        (1, 0, {"GPU": 8}, 0),
    ],
)
def test_a_node_has_room_for_so_many(cpus: float, gpus: float, there: dict[str, float], count: int) -> None:
    assert Resources(cpus, gpus).room(there) == count


@given(grains=st.integers(1, 10_000), there=st.integers(0, 64))
def test_the_room_is_that_of_exact_arithmetic(grains: int, there: int) -> None:
    assert Resources(grains / 10_000, 0).room({"CPU": there}) == there // Fraction(grains, 10_000)


@pytest.mark.parametrize("wrong", [-1, 1.5, float("nan"), float("inf"), 1e-9])
@pytest.mark.parametrize("option", ["cpus", "gpus"])
def test_what_is_no_share_is_refused(option: str, wrong: float) -> None:
    with pytest.raises(SettingsError, match=f"--{option}-per-trial {wrong:g} is not allowed: give .*fraction below 1"):
        Resources(**{option: wrong})


def test_no_cpu_at_all_is_refused_and_no_gpu_is_not() -> None:
    assert Resources(gpus=0).gpus == 0
    with pytest.raises(SettingsError, match="--cpus-per-trial 0 is not allowed"):
        Resources(cpus=0)


def test_they_have_a_name() -> None:
    assert [each.text for each in (Resources(), Resources(2, 0.5), Resources(0.5, 2))] == [
        "1 CPU",
        "2 CPUs and 0.5 GPU",
        "0.5 CPU and 2 GPUs",
    ]


@pytest.mark.parametrize(
    ("nodes", "gpus"), [([{"CPU": 4}], 0), ([{"CPU": 4}, {"CPU": 4, "GPU": 1}], 1), ([{"GPU": 0.5}], 0), ([], 0)]
)
def test_on_a_cluster_with_gpus_a_trial_has_one_unless_it_is_said(nodes: list[dict[str, float]], gpus: float) -> None:
    assert Resources(2).on_nodes(nodes) == Resources(2, gpus)
    assert Resources(2, 0.5).on_nodes(nodes) == Resources(2, 0.5)
    assert Resources(2, 0).on_nodes(nodes) == Resources(2, 0)


@pytest.mark.parametrize(("gpus", "workers", "share"), [(0, 3, 0), (2, 1, 1), (2, 2, 1), (1, 2, 0.5), (1, 3, 0.3333)])
def test_on_this_machine_trials_share_the_gpus(
    monkeypatch: pytest.MonkeyPatch, gpus: int, workers: int, share: float
) -> None:
    monkeypatch.setattr(resources, "visible_gpus", lambda: gpus)
    settled = Resources().here(workers)
    assert settled.gpus == pytest.approx(share) and settled.room({"CPU": 99, "GPU": gpus}) >= workers


def test_more_workers_than_the_gpus_of_this_machine_have_room_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources, "visible_gpus", lambda: 2)
    assert Resources(1, 0.5).here(4) == Resources(1, 0.5)
    with pytest.raises(SettingsError, match=r"--workers 5 with --gpus-per-trial 0.5 .* this machine has 2 GPUs"):
        Resources(1, 0.5).here(5)


@pytest.mark.parametrize(
    ("gpus", "asked", "workers"),
    [
        (0, Resources(), 6),
        (0, Resources(4), 1),
        (0, Resources(64), 1),
        (0, Resources(0.5), 12),
        (2, Resources(), 2),
        (2, Resources(gpus=0.25), 8),
        (2, Resources(gpus=0), 6),
    ],
)
def test_there_is_usually_a_worker_a_gpu_or_one_a_core(
    monkeypatch: pytest.MonkeyPatch, gpus: int, asked: Resources, workers: int
) -> None:
    monkeypatch.setattr(resources, "visible_gpus", lambda: gpus)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(6)))
    assert asked.usual_workers() == workers


@pytest.mark.parametrize(("chosen", "count"), [(None, 3), ("0,2", 2), ("", 0), ("0,1,2,3", 3)])
def test_gpus_that_are_hidden_do_not_count(monkeypatch: pytest.MonkeyPatch, chosen: str | None, count: int) -> None:
    monkeypatch.setattr(resources, "glob", lambda pattern: ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidia2"])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if chosen is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", chosen)
    assert resources.visible_gpus() == count
