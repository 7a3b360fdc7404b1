"""Trials whose files go through a storage: the folder that a job names is on a disk that its worker does not see."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from tiny_runs import Killed, finish, steps, timeless
from tiny_space import SGD, TINY, architecture, job

from nas.job import Job, Origin, Outcome
from nas.storage import Storage, StorageError, StudyFiles
from nas.training import checkpoint
from nas.training import evaluate as evaluation
from nas.training import files as trial_files
from nas.training.evaluate import evaluate
from nas.training.forking import OriginError
from nas.training.names import of_attempt

UNSEEN = Path("/nowhere/that/a/worker/sees")


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(evaluation, "find_space", lambda name: TINY)
    (tmp_path / "scratch").mkdir()
    monkeypatch.setattr(trial_files, "TemporaryDirectory", partial(TemporaryDirectory, dir=tmp_path / "scratch"))
    yield
    assert list((tmp_path / "scratch").iterdir()) == [], "scratch was left behind"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(params=["file", "memory"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path}/storage"


def stored(uri: str, **fields: Any) -> Job:
    fields = {"trial": 1, "storage": uri, "epochs": 4, "architecture": architecture(SGD)} | fields
    return replace(job(UNSEEN / "00001"), **fields)


def content(uri: str) -> dict[str, bytes]:
    """All files below a URI."""
    files, root = fsspec.url_to_fs(uri)
    return {path.removeprefix(root).lstrip("/"): files.cat_file(path) for path in files.find(root)}


def digest(outcome: Outcome | None) -> str:
    assert outcome is not None
    return outcome.artifacts["weights"].sha256


def test_a_trial_leaves_in_the_storage_what_it_leaves_in_a_folder(uri: str, tmp_path: Path) -> None:
    reports, outcome = finish(stored(uri))
    plain, expected = finish(replace(stored(uri), folder=tmp_path / "00001", storage=None))
    assert timeless(reports) == timeless(plain) and outcome is not None and expected is not None
    assert outcome.artifacts["weights"] == expected.artifacts["weights"] and not UNSEEN.exists()
    found = content(uri)
    assert found.keys() == {"00001/checkpoint.pt", "00001/weights.safetensors"}
    for left in outcome.artifacts.values():
        assert (sha256(found[left.path]).hexdigest(), len(found[left.path])) == (left.sha256, left.size)
    fetched = StudyFiles(tmp_path / "driver", uri).fetch(left.path, left.sha256)
    assert fetched.read_bytes() == found[left.path]


def test_a_trial_goes_on_elsewhere(uri: str) -> None:
    whole, outcome = finish(stored(uri, folder=UNSEEN / "whole"))
    for killed in (0, 1, 3):
        asked = stored(uri, folder=UNSEEN / f"0000{killed}")
        finish(asked, stop_after=killed)
        assert (f"0000{killed}/checkpoint.pt" in content(uri)) == (killed > 0)
        rest, end = finish(asked)
        assert timeless(rest) == timeless(whole) and digest(end) == digest(outcome)


def test_a_checkpoint_is_there_before_its_report(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = stored(uri, pauses=frozenset({2}), retain=True)
    seen = {report.step: set(content(uri)) for report in evaluate(asked)}
    assert seen[0] == set() and seen[1] == {"00001/checkpoint.pt"}
    assert seen[2] == {"00001/checkpoint.pt", "00001/checkpoint-2.pt"} == seen[4]


@pytest.mark.parametrize("upload", range(6))
@pytest.mark.parametrize("after", [True, False])
def test_a_worker_killed_around_an_upload_loses_nothing(
    upload: int, after: bool, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Right before or after any upload (checkpoints of four epochs, one that stays, the weights): nothing reported."""
    asked = stored(uri, pauses=frozenset({2}), retain=True)
    whole, outcome = finish(replace(asked, folder=UNSEEN / "whole"))
    put, left = Storage.put, iter(range(upload))

    def fragile(self: Storage, source: Path, relative: str) -> None:
        last = next(left, None) is None
        if not last or after:
            put(self, source, relative)
        if last:
            raise Killed

    monkeypatch.setattr(Storage, "put", fragile)
    reports = []
    with pytest.raises(Killed):
        reports += evaluate(asked)
    monkeypatch.setattr(Storage, "put", put)
    rest, end = finish(asked)
    assert timeless(rest) == timeless(whole) and digest(end) == digest(outcome)
    found = content(uri)
    names = ("checkpoint.pt", "checkpoint-2.pt", "weights.safetensors")
    assert {path for path in found if path.startswith("00001/")} == {f"00001/{name}" for name in names}


def test_a_fork_goes_on_from_the_storage(uri: str, tmp_path: Path) -> None:
    parent = stored(uri, pauses=frozenset({2}), retain=True)
    finish(parent, stop_after=2)
    gentle = architecture({"sgd": {"rate": 0.02, "momentum": 0.5, "weight_decay": 3e-2}})
    origin = Origin(parent.folder, 2, parent.architecture, parent.seed)
    child = stored(uri, folder=UNSEEN / "00002", trial=2, architecture=gentle, origin=origin)
    reports, outcome = finish(child)
    near = replace(parent, folder=tmp_path / "00001", storage=None)
    finish(near, stop_after=2)
    here = replace(child, folder=tmp_path / "00002", storage=None, origin=replace(origin, folder=near.folder))
    expected, end = finish(here)
    assert steps(reports) == [0, 3, 4] and timeless(reports) == timeless(expected) and digest(outcome) == digest(end)
    assert not any(
        "00001" in path for path in content(uri) if path not in ("00001/checkpoint.pt", "00001/checkpoint-2.pt")
    )


def test_an_origin_that_is_not_in_the_storage_is_said(uri: str) -> None:
    origin = Origin(UNSEEN / "00007", 2, architecture(SGD), 7)
    with pytest.raises(OriginError, match=f"^trial 1 cannot go on from {uri}/00007/checkpoint-2.pt: it is not there"):
        finish(stored(uri, origin=origin))


def test_another_trial_s_checkpoint_is_named_where_it_is(uri: str) -> None:
    finish(stored(uri), stop_after=1)
    with pytest.raises(checkpoint.CheckpointError, match=f"^{uri}/00001/checkpoint.pt belongs to another trial"):
        finish(stored(uri, seed=99))


def test_a_storage_that_cannot_be_used_fails_the_trial_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StorageError, match=r"^--storage s3://bucket/x needs a package.*s3fs"):
        finish(stored("s3://bucket/x"))


def test_later_attempts_leave_weights_of_their_own(uri: str) -> None:
    """A worker that was taken for lost may still write; what the store has signed must stay what it is."""
    _, first = finish(stored(uri, attempt=1))
    _, third = finish(stored(uri, attempt=3))
    assert first is not None and third is not None
    assert first.artifacts["weights"].path == "00001/weights.safetensors"
    assert third.artifacts["weights"].path == "00001/weights-3.safetensors"
    assert {first.artifacts["weights"].path, third.artifacts["weights"].path} <= content(uri).keys()
    assert of_attempt("supernet.safetensors", 2) == "supernet-2.safetensors"


def test_cheap_objectives_leave_nothing(uri: str) -> None:
    assert finish(stored(uri, objectives=("flops",)))[1] is not None and content(uri) == {}
