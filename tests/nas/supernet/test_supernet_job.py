"""The training of a supernet as a worker's job, in a folder and with a storage."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from supernet_space import SMALL, TASK

from nas.job import Job, Method, Outcome, Report
from nas.storage import StudyFiles
from nas.supernet import job as supernet_job
from nas.supernet.storing import load
from nas.training.files import files_of

OPTIONS: dict[str, Any] = {"rule": "one_shot", "epochs": 3, "batch": 32, "optimizer": "sgd", "rate": 0.1}
SEARCH: dict[str, Any] = {"evaluations": 4, "population": 4, "targets": "params", "predictors": ""}
UNSEEN = Path("/nowhere/that/a/worker/sees")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supernet_job, "find_space", lambda name: SMALL)


def asked(folder: Path, **fields: Any) -> Job:
    return Job(0, 1, {}, 7, folder=folder, method=Method("one_shot", OPTIONS | SEARCH), **fields)


def follow(job: Job, stop_after: int | None = None) -> tuple[list[tuple[int, float]], Outcome | None]:
    """The losses by epoch, and the outcome of a job that was not killed after an epoch."""
    told: list[Report] = []
    with files_of(job) as files:
        run = supernet_job.evaluate(job, TASK, files)
        while not told or told[-1].step != stop_after:
            try:
                told.append(next(run))
            except StopIteration as end:
                return [(each.step, each.metrics["train_loss"]) for each in told], end.value
    return [(each.step, each.metrics["train_loss"]) for each in told], None


@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_killed_supernet_goes_on_and_leaves_what_an_unbroken_one_leaves(elsewhere: bool, tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/storage"
    whole, outcome = follow(asked(tmp_path / "plain" / "00000"))
    job = asked(UNSEEN / "00000", storage=uri) if elsewhere else asked(tmp_path / "storage" / "00000")
    first, _ = follow(job, stop_after=2)
    files = StudyFiles(tmp_path / ("driver" if elsewhere else "storage"), uri if elsewhere else None)
    assert first == whole[:2] and files.names("00000") == ["checkpoint.pt"]
    rest, end = follow(job)
    assert rest == whole and outcome is not None and end is not None and end.found == outcome.found
    left = end.artifacts["supernet"]
    assert (left.path, left.sha256) == ("00000/supernet.safetensors", outcome.artifacts["supernet"].sha256)
    assert files.names("00000") == ["checkpoint.pt", "supernet.safetensors"]
    assert (
        load(files.fetch(left.path, left.sha256), SMALL, TASK).seed
        == load(tmp_path / "plain" / "00000" / "supernet.safetensors", SMALL, TASK).seed
    )


def test_a_later_attempt_leaves_a_supernet_of_its_own(tmp_path: Path) -> None:
    _, outcome = follow(replace(asked(tmp_path / "00000"), attempt=2))
    assert outcome is not None and outcome.artifacts["supernet"].path == "00000/supernet-2.safetensors"
