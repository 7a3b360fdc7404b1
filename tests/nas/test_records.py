"""What --json prints: strict JSON that says what the store holds."""

from __future__ import annotations

import json
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from fake_runs import WIDE, Fake, Losing, evaluate, register, start

from nas import records, tables
from nas.job import Evaluation, Job, Outcome, Report
from nas.store import State, queries
from nas.store.queries import Page
from nas.study import Study
from search_spaces.registry import find


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE)


def searched(folder: Path, fake: Fake | None = None, **settings: Any) -> Study:
    folder.mkdir(exist_ok=True)
    study = start(folder, **settings)
    study.run(fake or Fake(), content="content")
    return Study(study.store, "one")


def strict(data: Any) -> Any:
    return json.loads(json.dumps(records.plain(data), allow_nan=False))


def test_numbers_that_json_lacks_become_texts() -> None:
    data = {"a": [math.nan, (math.inf, -math.inf)], "b": {"c": 1.5, "d": None, "e": True, "f": "x"}, "g": ()}
    expected = {"a": ["nan", ["inf", "-inf"]], "b": {"c": 1.5, "d": None, "e": True, "f": "x"}, "g": []}
    assert strict(data) == expected


def test_a_study_with_its_settings_and_counts(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=20, constraints=("params<=600",))
    record = strict(records.study_record(study.store, study.row))
    assert record["study"] == "one" and record["store"] == f"sqlite:///{tmp_path}/nas.db"
    assert record["settings"]["constraints"] == ["params<=600"] and "tree" not in record["settings"]
    ends = [str(row.state) for row in study]
    assert record["trials"] == {state: ends.count(state) for state in set(ends)} and record["running"] is False
    with study.store.driving("one"):
        assert records.study_record(study.store, study.row)["running"] is True


def test_a_trial_in_full(tmp_path: Path) -> None:
    study = searched(tmp_path, Losing({1: 1}), trials=3)
    row = study.trial(1)
    record = strict(records.trial_record(study, row))
    expected = list(evaluate(Job(1, 1, row.architecture, row.seed, epochs=3)))
    assert record["metrics"]["val_accuracy"] == {str(r.step): r.metrics["val_accuracy"] for r in expected[1:]}
    assert record["architecture"] == row.architecture and record["values"] == row.values and record["seed"] == row.seed
    assert [(each["number"], each["worker"]) for each in record["attempts"]] == [(1, "fake-0"), (2, "fake-0")]
    assert record["attempts"][0]["error"] == "the worker was lost: gone" and record["attempts"][1]["error"] is None
    assert record["state"] == "COMPLETED" and record["kind"] == "search" and record["parent"] is None


def test_leaders_say_their_split_and_what_is_confirmed(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=5, objectives=("accuracy",))
    study.confirm(Fake(), 1, 3)
    first, second = strict(records.leader_records(study, study.leaders(2)))
    repeats = [row.values["accuracy"] for row in study.trials(Page(kind="confirm"))]
    assert first["confirmed"]["accuracy"] == {
        "mean": pytest.approx(statistics.mean(repeats)),
        "deviation": pytest.approx(statistics.stdev(repeats)),
        "count": 3,
    }
    assert second["confirmed"] is None and first["split"] == "validation" and first["epochs"] == 3
    assert first["values"]["accuracy"] >= second["values"]["accuracy"]


def test_a_comparison_of_studies(tmp_path: Path) -> None:
    one = searched(tmp_path / "one", trials=6)
    two = searched(tmp_path / "two", trials=9, seed=4)
    first, second = strict(records.comparison_records([one, two]))
    for record, study in ((first, one), (second, two)):
        assert record["best"] == {
            "accuracy": max(row.values["accuracy"] for row in study),
            "params": min(row.values["params"] for row in study),
        }
        assert record["front"] == len(study.front()) and record["seconds"] > 0
    # The share of the box that a study covers, by counting points of a grid.
    everything = [(-row.values["accuracy"], row.values["params"]) for study in (one, two) for row in study]
    low = [min(column) for column in zip(*everything, strict=True)]
    span = [max(column) - bottom for column, bottom in zip(zip(*everything, strict=True), low, strict=True)]
    for record, study in ((first, one), (second, two)):
        points = [
            ((-row.values["accuracy"] - low[0]) / span[0], (row.values["params"] - low[1]) / span[1]) for row in study
        ]
        grid = [((i + 0.5) / 200, (j + 0.5) / 200) for i in range(200) for j in range(200)]
        share = sum(any(a <= x and b <= y for a, b in points) for x, y in grid) / len(grid)
        assert record["hypervolume"] == pytest.approx(share, abs=0.01)


def test_studies_of_other_objectives_have_no_common_hypervolume(tmp_path: Path) -> None:
    one = searched(tmp_path / "one", trials=2)
    other = searched(tmp_path / "two", trials=2, objectives=("accuracy",))
    assert all("hypervolume" not in record for record in records.comparison_records([one, other]))


def test_studies_without_a_completed_trial_can_be_compared_and_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    none = searched(tmp_path / "none", trials=3, constraints=("params<=0",))
    (tmp_path / "new").mkdir()
    new = start(tmp_path / "new")
    for record in strict(records.comparison_records([none, new])):
        assert record["best"] == {"accuracy": None, "params": None} and record["front"] == 0
    tables.print_comparison([none, new])
    tables.print_study(none)
    tables.print_studies(new.store, queries.studies(new.store))
    assert "has no completed trial yet" in capsys.readouterr().out


def odd(job: Job) -> Evaluation:
    yield Report(0, {"params": math.inf})
    yield Report(1, {"val_accuracy": math.nan})
    yield Report(2, {"val_accuracy": [math.nan, math.inf, 0.5][job.trial % 3]})
    return Outcome({"accuracy": [math.nan, math.inf, 0.5][job.trial % 3], "params": math.inf})


def test_figures_that_are_not_finite_can_be_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = searched(tmp_path, Fake(odd), trials=6, epochs=2)
    study.confirm(Fake(odd), 3, 2)
    for data in (
        records.comparison_records([study, study]),
        records.leader_records(study, study.leaders(5)),
        [records.trial_record(study, row) for row in study.trials(Page(kind=None))],
    ):
        strict(data)
    tables.print_comparison([study])
    tables.print_study(study)
    for row in study.trials(Page(kind=None)):
        tables.print_trial(study, row)
    tables.print_leaders(study, study.leaders(6), "Best")
    assert "nan" in capsys.readouterr().out


def test_markup_in_errors_and_architectures_is_printed_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(job: Job) -> Evaluation:
        yield Report(0, {"params": 1.0})
        raise ValueError("[bold]shape [1, 2][/bold] and [/nothing]")

    study = searched(tmp_path, Fake(failing), trials=1)
    tables.print_study(study)
    tables.print_trial(study, study.trial(0))
    assert "[bold]shape [1, 2][/bold] and [/nothing]" in capsys.readouterr().out.replace("\n", " ")


def test_a_network_in_a_line() -> None:
    stages = [{"depth": 2, "width": 16, "layer": {"kan": {"basis": {"rbf": {}}}}, "activation": "relu"}]
    assert tables.sketch({"network": {"stages": stages}}) == "2xkan(rbf)16 relu"
    assert tables.sketch({"network": "mlp"}) == '"mlp"' and tables.sketch({"width": 3}) == '{"width": 3}'
    assert tables.sketch({"network": {"stages": [1, 2]}}) == '{"stages": [1, 2]}'


def test_an_entry_of_the_registry() -> None:
    record = strict(records.entry_record(find("strategy", "cmaes")))
    assert record["lacks"] == ["several objectives"] and record["paper"].startswith("Hansen")
    assert record["kind"] == "strategy" and [option["name"] for option in record["options"]] == ["startup"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (3599.7, "1 h 0 min"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert tables.duration(seconds) == text


def test_states_of_studies(tmp_path: Path) -> None:
    study = searched(tmp_path, trials=2)
    assert queries.standing(study.store, study.row) == "finished"
    study.extend(5)
    again = Study(study.store, "one")
    assert queries.standing(again.store, again.row) == "interrupted"
    with study.store.driving("one"):
        assert queries.standing(again.store, again.row) == "running"
    assert again.row.counts == {State.COMPLETED: 2}
