from __future__ import annotations

import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path

import pytest

from nas import cli, doctor


def texts(level: str) -> list[str]:
    return [finding.text for finding in doctor.examine() if finding.level == level]


def test_a_healthy_installation_has_no_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert texts("error") == []
    fine = texts("ok")
    assert any(text.startswith(f"Python {sys.version.split()[0]}") for text in fine)
    for name in doctor.REQUIRED:
        assert f"{name} {metadata.version(name)}" in fine
    assert f"{len(os.sched_getaffinity(0))} cores" in fine
    assert any(str(tmp_path) in text and "can be written to" in text for text in fine)


def foreign(folder: Path, name: str, package: str) -> None:
    """Put another distribution that owns an import name into a folder of the path."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (folder / package).mkdir()
    (folder / package / "__init__.py").touch()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "top_level.txt").write_text(f"{package}\n")
    (info / "RECORD").write_text(f"{package}/__init__.py,,\n")


@pytest.mark.parametrize(("name", "package"), [("kernels", "kernels"), ("nas-toolkit", "nas")])
def test_another_owner_of_our_import_names_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    foreign(tmp_path, name, package)
    monkeypatch.syspath_prepend(str(tmp_path))
    [error] = texts("error")
    assert error.startswith(f"the import name {package!r} belongs to {name} too: pip uninstall {name}")


def test_our_own_distribution_is_no_other_owner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign(tmp_path, "NAS", "predictors")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert texts("error") == []


def test_what_is_not_installed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "REQUIRED", ("torch", "no-such-thing"))
    assert texts("error") == ["no-such-thing is not installed: pip install nas"]


def test_a_full_disk_and_a_folder_that_is_read_only_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    full = shutil.disk_usage(tmp_path)._replace(free=5 * 2**20)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: full)
    assert texts("error") == [f"{tmp_path} has 5 MiB free: a search needs about 1 GiB"]
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    assert texts("error") == [f"{tmp_path} cannot be written to: change to a folder that can, or name a --store"]


@pytest.mark.parametrize(("required", "code"), [(("torch",), 0), (("no-such-thing",), 1)])
def test_the_command_prints_json_and_its_exit_code_tells(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    required: tuple[str, ...],
    code: int,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "REQUIRED", required)
    for arguments in (["doctor", "--json"], ["doctor"]):
        monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        assert (end.value.code or 0) == code
        out = capsys.readouterr().out
        if "--json" in arguments:
            assert {finding["level"] for finding in json.loads(out)} <= {"ok", "note", "error"}
        else:
            assert ("✗" in out) == bool(code)


@pytest.mark.parametrize(
    ("asked", "level", "words"),
    [
        ("", "ok", "kernels on cpu: reference (NAS_KERNELS=auto)"),
        ("reference", "ok", "kernels on cpu: reference (NAS_KERNELS=reference)"),
        ("cuda", "error", "NAS_KERNELS is 'cuda', but auto, reference or triton is allowed"),
    ],
)
def test_which_kernels_run_is_said(monkeypatch: pytest.MonkeyPatch, asked: str, level: str, words: str) -> None:
    monkeypatch.setenv("NAS_KERNELS", asked)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert words in texts(level)
