"""Many simulated searches on a table, and the command that compares them."""

from __future__ import annotations

import csv
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nas.cli import app
from nas.comparison.report import summary
from nas.comparison.runs import Contender, compare, contenders, plan
from nas.objectives import ObjectiveError
from nas.settings import Settings
from nas.simulation import simulate
from search_spaces.spaces.nasbench201 import NOTATION, OPERATIONS, SPACE

EDGES = list(SPACE.tree.fields["network"].fields["cell"].fields)  # type: ignore[union-attr]
GOOD = {operation: float(value) for value, operation in enumerate(OPERATIONS)}


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """All architectures: what counts is the sum over the edges; validation and test differ by a constant."""
    path = tmp_path_factory.mktemp("table") / "sums.csv"
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "val_accuracy", "test_accuracy", "cost"])
        for picked in itertools.product(OPERATIONS, repeat=len(EDGES)):
            architecture = {"network": {"cell": dict(zip(EDGES, picked, strict=True))}}
            total = sum(GOOD[each] for each in picked)
            writer.writerow([NOTATION.write(architecture), total, total - 100, 1 + total * total])
    return str(path)


def settings(table: str, **more: object) -> Settings:
    fields = {"space": "nasbench201", "task": f"table:{table}", "objectives": ("accuracy",), "epochs": 1, "trials": 40}
    return Settings(**{**fields, **more})  # type: ignore[arg-type]


def test_each_search_is_the_simulation_of_its_seed(table: str) -> None:
    found = compare(plan(settings(table), None, []), contenders("random"), [1], 3, 1, lambda done, total: None)
    for seed, ran in enumerate(found["random", 1]):
        trials = simulate(settings(table, strategy="random", seed=seed))
        assert ran.best is not None and ran.best[-1] == max(trial.values["accuracy"] for trial in trials) - 100
        assert len(ran.clocks) == 40 and ran.volume is None


def test_processes_change_nothing(table: str) -> None:
    planned, entrants = plan(settings(table), None, []), contenders("random,regularized_evolution[population=5]")
    one, two = (compare(planned, entrants, [1, 3], 2, processes, lambda *_: None) for processes in (1, 2))
    assert one.keys() == two.keys() and len(one) == 4
    for key in one:
        for here, there in zip(one[key], two[key], strict=True):
            assert np.array_equal(np.asarray(here.best), np.asarray(there.best)) and here.clocks == there.clocks


def test_several_objectives_have_a_hypervolume(table: str) -> None:
    both = settings(table, objectives=("accuracy", "min:cost"))
    planned = plan(both, "test_accuracy", [])
    assert planned.bounds == ((-24.0, 0.0), (1.0, 577.0))
    (runs,) = compare(planned, contenders("random"), [1], 2, 1, lambda *_: None).values()
    assert all(ran.volume is not None and (np.diff(ran.volume) >= 0).all() for ran in runs)


def test_a_summary_knows_when_the_target_was_reached(table: str) -> None:
    planned = plan(settings(table), None, [])
    found = compare(planned, contenders("random"), [1], 4, 1, lambda *_: None)
    curves = [ran.best for ran in found["random", 1]]
    target = float(np.median([curve[-1] for curve in curves if curve is not None]))
    there = summary(planned, found, target).lines[0].target
    assert there is not None
    assert there.share == sum(curve[-1] >= target for curve in curves if curve is not None) / 4
    assert summary(planned, found, 1000.0).lines[0].target.trials == math.inf  # type: ignore[union-attr]


def test_strategies_are_read_with_their_options() -> None:
    read = contenders("random, regularized_evolution[population=20,sample=5],tpe")
    assert [each.name for each in read] == ["random", "regularized_evolution", "tpe"]
    assert read[1].options == {"population": 20, "sample": 5} and read[0].options == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [("tpe[", "does not parse: write it as name or name"), ("", "names none"), ("tpe[a=1]", "tpe has no option 'a'")],
)
def test_strategies_that_do_not_parse_are_refused(text: str, message: str) -> None:
    with pytest.raises(Exception, match=message):
        contenders(text)


def test_a_test_column_is_no_objective(table: str) -> None:
    with pytest.raises(ObjectiveError, match="never sees test data"):
        plan(settings(table, objectives=("max:test_accuracy",)), None, [Contender.parse("random")])


def test_the_command_prints_a_table_and_draws(table: str, tmp_path: Path) -> None:
    line = ["bench", "strategies", "--space", "nasbench201", "--table", table, "--strategies", "random,qmc"]
    line += ["--seeds", "2", "--trials", "12", "--processes", "1", "--target=-95", "--quiet"]
    output = tmp_path / "lines.png"
    ran = CliRunner().invoke(app, [*line, "--output", str(output)])
    assert ran.exit_code == 0 and "qmc" in ran.stdout and "reached by" in ran.stdout
    assert output.read_bytes().startswith(b"\x89PNG")
    record = json.loads(CliRunner().invoke(app, [*line, "--json"]).stdout)
    assert [each["strategy"] for each in record["strategies"]] == ["random", "qmc"]
    assert all(len(each["best"]["mean"]) == 12 for each in record["strategies"]) and record["test"] == "test_accuracy"


def test_what_the_command_is_not_given_right_is_refused(table: str) -> None:
    line = ["bench", "strategies", "--space", "nasbench201", "--table", table, "--seeds", "1", "--trials", "2"]
    for more, message in {
        ("--workers", "1,x"): "--workers '1,x' does not parse",
        ("--test", "zzz"): "--test 'zzz' is no column of the table: it has val_accuracy",
        ("--output", "x.gif"): "'x.gif' ends in neither",
        (
            "--strategies",
            "cmaes",
            "--objective",
            "accuracy",
            "--objective",
            "min:cost",
        ): "does not do several objectives",
    }.items():
        ran = CliRunner().invoke(app, [*line, *more])
        assert ran.exit_code != 0 and message in str(ran.exception)
