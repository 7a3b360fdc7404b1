"""Who may know whom: imports go from kernels up to the dashboard and never back; `nas --help` stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_KNOW = {
    "kernels": {"kernels"},
    "search_spaces": {"search_spaces", "kernels"},
    "predictors": {"predictors"},
    "nas": {"nas", "search_spaces", "predictors", "kernels"},
    "dashboard": {
        "dashboard",
        "nas.store",
        "nas.objectives",
        "nas.pareto",
        "nas.settings",
        "nas.errors",
        "search_spaces.decisions",
        "search_spaces.registry",
    },
}
EXCEPTIONS = {"nas/commands/results.py": {"dashboard"}}


def imports(file: Path, package: list[str]) -> Iterator[str]:
    """Name all modules that a file imports anywhere in it, `from a import b` as a.b."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            lead = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{lead}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            yield from (str(a.value) for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def violations(root: Path) -> list[str]:
    found = []
    for room, known in MAY_KNOW.items():
        for file in sorted((root / room).rglob("*.py")):
            name = file.relative_to(root).as_posix()
            allowed = known | EXCEPTIONS.get(name, set())
            for module in imports(file, list(file.relative_to(root).parts[:-1])):
                ours = module.split(".")[0] in MAY_KNOW
                if ours and not any(module == each or module.startswith(f"{each}.") for each in allowed):
                    found.append(f"{name} imports {module}")
    return found


def test_imports_go_in_the_direction_of_the_house_only() -> None:
    assert (ROOT / "nas" / "cli.py").exists() and (ROOT / "search_spaces" / "decisions.py").exists()
    assert violations(ROOT) == []


def test_predictors_know_numbers_only() -> None:
    """A network, a batch and a loss, or rows of numbers: nothing of studies and spaces."""
    known = {"torch", "numpy", "sklearn", "scipy", "predictors", *sys.stdlib_module_names}
    for file in (ROOT / "predictors").rglob("*.py"):
        for module in imports(file, list(file.relative_to(ROOT).parts[:-1])):
            assert module.split(".")[0] in known, f"{file} imports {module}"


@pytest.mark.parametrize(
    ("file", "line", "found"),
    [
        ("kernels/spline.py", "import search_spaces.decisions", "search_spaces.decisions"),
        ("search_spaces/space.py", "def f():\n    from nas.store import Store", "nas.store.Store"),
        ("search_spaces/layers/kan.py", "from ...nas import job", "nas.job"),
        ("predictors/size.py", "from search_spaces import registry", "search_spaces.registry"),
        ("nas/loop.py", "import dashboard.app", "dashboard.app"),
        ("nas/loop.py", "import importlib\nimportlib.import_module('dashboard')", "dashboard"),
        ("dashboard/app.py", "from nas import loop", "nas.loop"),
        ("dashboard/app.py", "import nas", "nas"),
        ("dashboard/pages/grid.py", "from nas.study import open_study", "nas.study.open_study"),
    ],
)
def test_the_check_sees_a_violation(tmp_path: Path, file: str, line: str, found: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(line + "\n")
    assert violations(tmp_path) == [f"{file} imports {found}"]


def test_the_check_lets_the_command_line_open_the_dashboard(tmp_path: Path) -> None:
    (tmp_path / "nas" / "commands").mkdir(parents=True)
    (tmp_path / "nas" / "commands" / "results.py").write_text("from dashboard.app import serve\n")
    assert violations(tmp_path) == []


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['nas', '--help']\nfrom nas.cli import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        "print('loaded:', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    loaded = printed.rpartition("loaded:")[2].split()
    assert "nas" in loaded and "typer" in loaded
    assert not {"torch", "ray", "optuna", "dash", "sqlalchemy", "numpy"} & set(loaded)


@pytest.mark.ray
def test_tests_that_start_a_ray_share_a_process(request: pytest.FixtureRequest) -> None:
    """pytest-xdist says of a group whose tests it keeps together by their names; without its workers all are."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        assert request.node.nodeid.endswith("@ray")
