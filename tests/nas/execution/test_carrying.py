"""The code of plug-ins reaches workers whose machines do not have it."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from ray_nodes import Head, started

from nas.execution import carrying


def plugin(folder: Path, name: str = "plugged", needs: str = "") -> Path:
    """Write a distribution that adds an activation of its name, as it lies in a folder that is on PYTHONPATH."""
    package, described = folder / name, folder / f"{name}-1.0.dist-info"
    package.mkdir(parents=True)
    described.mkdir()
    (package / "__init__.py").write_text("")
    (package / "parts.py").write_text(
        "from torch import nn\nfrom search_spaces.registry import register\n\n\n"
        f"@register('activation', '{name}')\ndef made(*given):\n    return nn.ReLU()\n"
    )
    requires = f"Requires-Dist: {needs}\n" if needs else ""
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n{requires}")
    (described / "entry_points.txt").write_text(f"[nas.components]\n{name} = {name}.parts\n")
    return folder


def test_a_plugin_is_carried_with_its_metadata_and_what_is_installed_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(carrying.carried())
    monkeypatch.syspath_prepend(plugin(tmp_path))
    assert set(carrying.carried()) - before == {tmp_path / "plugged", tmp_path / "plugged-1.0.dist-info"}
    assert not any(path.name in ("ray", "torch", "numpy") for path in carrying.carried())


def test_what_a_plugin_requires_is_carried_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    helper = tmp_path / "helping"
    helper.mkdir()
    (helper / "helping_hand.py").write_text("")
    (helper / "Helping_Hand-2.dist-info").mkdir()
    (helper / "Helping_Hand-2.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: Helping_Hand\n")
    (helper / "Helping_Hand-2.dist-info" / "top_level.txt").write_text("helping_hand\n")
    monkeypatch.syspath_prepend(helper)
    assert helper / "helping_hand.py" not in carrying.carried()
    monkeypatch.syspath_prepend(plugin(tmp_path / "plug", needs="helping.hand[all]>=1; python_version > '3'"))
    assert helper / "helping_hand.py" in carrying.carried()


def test_what_is_edited_in_place_is_carried() -> None:
    """This package itself, where it is installed so: from where it was imported."""
    installed = Path(carrying.__file__).is_relative_to(sysconfig.get_path("purelib"))
    assert (Path(carrying.__file__).parents[1] in carrying.carried()) is not installed


def test_the_variables_that_change_results_are_carried_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in carrying.VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert carrying.runtime_environment()["env_vars"] == {}
    monkeypatch.setenv("NAS_KERNELS", "torch")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    assert carrying.runtime_environment()["env_vars"] == {"NAS_KERNELS": "torch"}


@pytest.fixture(scope="module")
def head() -> Iterator[Head]:
    with started(lambda: Head(1)) as made:
        yield made


DRIVER = """
import sys
from pathlib import Path
from orders import ended, following, job, ready
from nas.execution import ray
from nas.job import Outcome, Report

def evaluate(job):
    import os
    import nas
    from search_spaces.registry import find
    find("activation", "plugged")
    Path(job.folder).mkdir(parents=True)
    (job.folder / "where").write_text(f"{nas.__file__} {os.environ.get('NAS_KERNELS')}")
    yield Report(0, {})
    return Outcome({})

if sys.argv[3] == "nothing":
    ray.runtime_environment = dict
executor = ray.RayWorkers(1, address=sys.argv[1], evaluate=evaluate)
[worker] = ready(executor, 1)
executor.submit(worker, job(Path(sys.argv[2])))
print(following(executor, ended(1))[-1].what)
executor.close()
"""


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.parametrize("what", ["all", "nothing"])
def test_workers_on_a_cluster_have_a_plugin_only_because_it_is_carried(head: Head, tmp_path: Path, what: str) -> None:
    ours = [path for path in sys.path if path]
    variables = {"PYTHONPATH": os.pathsep.join([str(plugin(tmp_path / "plug")), *ours]), "NAS_KERNELS": "torch"}
    (tmp_path / "driver").mkdir()
    command = [sys.executable, "-c", DRIVER, head.address, str(tmp_path / "work"), what]
    ran = subprocess.run(
        command, env=os.environ | variables, cwd=tmp_path / "driver", capture_output=True, text=True, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    if what == "nothing":
        assert "unknown activation 'plugged'" in ran.stdout and not (tmp_path / "work" / "00000" / "where").exists()
        return
    assert "Outcome" in ran.stdout, ran.stdout
    source, kernels = (tmp_path / "work" / "00000" / "where").read_text().split()
    assert kernels == "torch" and source.startswith(head.folder)
