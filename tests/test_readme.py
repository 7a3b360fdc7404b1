"""What the README says is so: its commands exist, and its example space can be searched."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import nas
from nas.cli import app
from search_spaces import registry

TEXT = (Path(__file__).parent.parent / "README.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, re.S)


def test_every_command_it_names_exists() -> None:
    known = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    known |= {group.name for group in app.registered_groups if group.name}
    named = set(re.findall(r"(?:^    |`|\$ )nas ([a-z]+)", TEXT, re.M))
    assert named <= known, named - known
    assert known <= named, f"not in the README: {known - named}"


def test_every_registered_strategy_and_objective_is_in_its_tables() -> None:
    for kind in ("strategy", "objective", "schedule", "predictor"):
        for name in registry.entries(kind):
            assert f"`{name}`" in TEXT or f" {name}" in TEXT, name


def test_its_own_space_can_be_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in registry.kinds():
        registry.entries(kind)
    monkeypatch.setattr(registry, "_entries", {kind: dict(named) for kind, named in registry._entries.items()})
    (example,) = [block for block in BLOCKS if "my_space.py" in block]
    exec(example, {})
    study = nas.search("mine", trials=2, epochs=1, workers=1, store=f"sqlite:///{tmp_path}/nas.db", schedule="none")
    assert [str(trial.state) for trial in study] == ["COMPLETED", "COMPLETED"]
    assert study.export(study.front()[0].number, tmp_path / "best").is_dir()
    assert not nas.load(tmp_path / "best").training
