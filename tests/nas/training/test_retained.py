from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import Killed, finish, same, timeless
from tiny_space import TINY, job

from nas.job import Job
from nas.tasks import find_task
from nas.training import checkpoint
from nas.training import evaluate as evaluation
from nas.training.evaluate import evaluate


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluation, "find_space", lambda name: TINY)


def keeping(folder: Path, **fields: Any) -> Job:
    return job(folder, **({"epochs": 4, "pauses": frozenset({1, 3}), "retain": True} | fields))


def state(asked: Job, name: str) -> dict[str, Any]:
    whose = checkpoint.trial_identity(asked.architecture, find_task("digits").content, asked.seed, asked.epochs)
    return vars(checkpoint.load(asked.folder / name, whose)[0])


def files(folder: Path) -> set[str]:
    return {file.name for file in folder.iterdir()}


def no_links(*args: Any) -> None:
    raise OSError("Operation not permitted")


@pytest.mark.parametrize("links", [True, False])
def test_checkpoints_at_pauses_stay_as_they_were(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    kept = keeping(tmp_path / "kept")
    finish(kept)
    assert files(kept.folder) == {"checkpoint.pt", "checkpoint-1.pt", "checkpoint-3.pt", "weights.safetensors"}
    for step in (1, 3):
        cut = keeping(tmp_path / str(step), retain=False)
        finish(cut, stop_after=step)
        [now, then] = [state(kept, f"checkpoint-{step}.pt"), state(cut, "checkpoint.pt")]
        assert files(cut.folder) == {"checkpoint.pt"} and len(now["history"]) == step
        assert same(now["network"], then["network"]) and same(now["optimizer"], then["optimizer"])


def test_they_are_there_before_the_report_of_their_epoch(tmp_path: Path) -> None:
    asked, seen = keeping(tmp_path / "a"), {}
    for report in evaluate(asked):
        seen[report.step] = files(asked.folder) if asked.folder.exists() else set()
    assert seen[0] == set() and seen[1] == {"checkpoint.pt", "checkpoint-1.pt"} == seen[2]
    assert seen[3] == {"checkpoint.pt", "checkpoint-1.pt", "checkpoint-3.pt"}


def test_a_link_takes_no_room(tmp_path: Path) -> None:
    finish(keeping(tmp_path / "a"), stop_after=1)
    assert os.path.samefile(tmp_path / "a" / "checkpoint.pt", tmp_path / "a" / "checkpoint-1.pt")
    finish(keeping(tmp_path / "a"), stop_after=2)
    assert not os.path.samefile(tmp_path / "a" / "checkpoint.pt", tmp_path / "a" / "checkpoint-1.pt")


@pytest.mark.parametrize("moment", range(8))
def test_whoever_goes_on_from_a_pause_has_left_its_checkpoint(
    moment: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker dies before any one of its steps on the disk, and tidies nothing; the next one ends with its files."""
    whole, outcome = finish(keeping(tmp_path / "whole"))
    left, replace, unlink = iter(range(moment)), os.replace, Path.unlink

    def fragile(*args: Any) -> None:
        if next(left, None) is None:
            raise Killed
        replace(*args)

    monkeypatch.setattr(os, "replace", fragile)
    monkeypatch.setattr(Path, "unlink", lambda *args, **options: None)
    asked = keeping(tmp_path / "a")
    try:
        finish(asked)
    except Killed:
        pass
    monkeypatch.setattr(os, "replace", replace)
    monkeypatch.setattr(Path, "unlink", unlink)
    epoch = len(state(asked, "checkpoint.pt")["history"]) if (asked.folder / "checkpoint.pt").exists() else 0
    assert {f"checkpoint-{step}.pt" for step in (1, 3) if step <= epoch} <= files(asked.folder)
    reports, end = finish(asked)
    assert timeless(reports) == timeless(whole) and files(asked.folder) >= files(tmp_path / "whole")
    for step in (1, 3):
        assert len(state(asked, f"checkpoint-{step}.pt")["history"]) == step
    assert (
        end is not None
        and outcome is not None
        and end.artifacts["weights"].sha256 == (outcome.artifacts["weights"].sha256)
    )
