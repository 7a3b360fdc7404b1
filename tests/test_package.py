"""The wheel, in an environment that holds nothing else, does the main job from an empty folder."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = """
from dashboard.app import create
client = create("sqlite:///nas.db").server.test_client()
page = client.get("/", headers={"Host": "localhost"}).get_data(as_text=True)
sheets = [part.split('"')[0] for part in page.split('href="')[1:] if ".css" in part.split('"')[0]]
assert sheets, page
for sheet in sheets:
    answer = client.get(sheet, headers={"Host": "localhost"})
    assert answer.status_code == 200 and answer.data, sheet
"""


def run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_wheel_does_the_main_job(tmp_path: Path) -> None:
    source, work = tmp_path / "source", tmp_path / "work"
    work.mkdir()
    kept = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "build", "nas_files", "*.db*")
    shutil.copytree(ROOT, source, ignore=kept)
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, source, folder=tmp_path)
    (wheel,) = tmp_path.glob("nas-*.whl")
    run(sys.executable, "-m", "venv", "env", folder=tmp_path)
    python, nas = tmp_path / "env/bin/python", tmp_path / "env/bin/nas"
    run(python, "-m", "pip", "install", "--quiet", wheel, folder=work)
    found = json.loads(run(nas, "search", "--trials", "3", "--epochs", "1", "--study", "first", "--json", folder=work))
    assert sum(found["trials"].values()) == 3 and found["front"]
    run(nas, "export", "first", "--output", "best", folder=work)
    assert "accuracy" in json.loads(run(nas, "evaluate", "best", "--json", folder=work))
    run(python, "-c", PAGES, folder=work)
    run(nas, "doctor", folder=work)
    shutil.rmtree(tmp_path / "env")
