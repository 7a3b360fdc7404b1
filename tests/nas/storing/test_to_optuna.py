"""Studies in Optuna's format, read by Optuna itself and shown by its dashboard."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from random import Random
from typing import Any

import optuna
import pytest
from fake_runs import TWELVE, WIDE, register
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState
from postgres import plain

from nas.settings import Settings
from nas.store import State, Store, queries
from nas.storing.to_optuna import OptunaError, to_optuna
from search_spaces.decisions import DecisionError, identity


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE, TWELVE)


def fill(store: Store, name: str, objectives: tuple[str, ...], trials: int = 10) -> int:
    """Add a search with two trials in every state or so, and one confirmation; figures that are not finite, too."""
    settings = Settings(space="wide", objectives=objectives, trials=trials)
    study = store.add_study(name, settings.to_json() | {"tree": WIDE.describe()["tree"]})
    states = [State.COMPLETED, *State, State.COMPLETED, State.COMPLETED]
    losses = [0.5, 1.5, math.inf, math.nan]
    with store.writing(study) as writer:
        for number in range(trials):
            architecture = WIDE.draw(Random(number))
            key = identity(architecture)
            parent = {"parent": 0, "forked_at": 2} if number == 9 else {}
            row = writer.add_trial(number, architecture, key, f"key {number}", number, **parent)
            state = states[number % len(states)]
            if state is State.WAITING:
                continue
            writer.start(row, 1, "w", "cpu")
            for epoch in range(3):
                told = {"val_accuracy": number + epoch / 10, "val_loss": losses[number % 4]} if epoch else {}
                writer.report(row, epoch, {"params": 1e3, **told})
            values = {"accuracy": number / 10, "params": 1e3, "loss": losses[number % 4]}
            if state.ended:
                kept = values if state in (State.COMPLETED, State.STOPPED) else None
                writer.end(row, 1, state, values=kept, reason=None if kept else f"why {number}")
            else:
                writer.mark(row, state)
        row = writer.add_trial(trials, architecture, key, "again", 1, kind="confirm", repeat=1, parent=0)
        writer.end(row, 0, State.COMPLETED, values={"accuracy": 0.1, "params": 1e3})
    return study


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)


def opened(url: str, name: str) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=url.replace("postgresql:", "postgresql+psycopg:"))


@pytest.fixture(params=["sqlite", "postgresql"])
def target(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database for Optuna."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/optuna.db"
    return str(request.getfixturevalue("databases")())


EXPECTED = {
    State.COMPLETED: TrialState.COMPLETE,
    State.STOPPED: TrialState.PRUNED,
    State.FAILED: TrialState.FAIL,
    State.INFEASIBLE: TrialState.FAIL,
    State.RUNNING: TrialState.RUNNING,
    State.PAUSED: TrialState.RUNNING,
    State.STALE: TrialState.RUNNING,
    State.WAITING: TrialState.WAITING,
}


def test_optuna_reads_every_trial_of_the_search(store: Store, target: str) -> None:
    study = fill(store, "one", ("accuracy", "params"))
    ticks: list[None] = []
    done = to_optuna(store, queries.study(store, "one"), target, lambda: ticks.append(None))
    found = opened(target, "one")
    rows = queries.trials(store, study)
    assert done == len(ticks) == len(found.trials) == len(rows) == 10
    assert [each.name for each in found.directions] == ["MAXIMIZE", "MINIMIZE"]
    assert found.metric_names == ["accuracy", "params"]
    assert {row.state for row in rows} == set(State)
    for row, trial in zip(rows, found.trials, strict=True):
        assert trial.params == WIDE.trace(row.architecture) and trial.number == row.number
        assert trial.state == EXPECTED[row.state]
        given = [row.values["accuracy"], row.values["params"]] if row.values else None
        assert trial.values == given
        waits = row.state is State.WAITING
        assert trial.intermediate_values == ({} if waits else {1: row.number + 0.1, 2: row.number + 0.2})
        assert trial.user_attrs["nas:state"] == row.state and trial.user_attrs["nas:identity"] == row.identity
        assert trial.user_attrs["nas:number"] == row.number and trial.user_attrs.get("nas:reason") == row.reason
        assert trial.datetime_complete == (None if row.ended is None else datetime.fromtimestamp(row.ended))
        assert trial.datetime_start == datetime.fromtimestamp(row.created)
    last = found.trials[9].user_attrs
    assert (last["nas:parent"], last["nas:forked_at"]) == (0, 2)
    assert found.user_attrs["nas:settings"]["space"] == "wide" and "tree" not in found.user_attrs["nas:settings"]


def test_decisions_are_distributions_by_their_paths(store: Store, target: str) -> None:
    fill(store, "one", ("accuracy",))
    to_optuna(store, queries.study(store, "one"), target)
    found = opened(target, "one")
    seen: dict[str, Any] = {}
    for trial in found.trials:
        seen |= trial.distributions
    assert seen == {
        "network.width": IntDistribution(1, 40),
        "network.kind": CategoricalDistribution(("a", "b", "c")),
        "network.kind:c.x": FloatDistribution(0, 1),
        "training.rate": FloatDistribution(1e-3, 1, log=True),
    }
    assert found.best_trial.number == 9 and found.best_value == 0.9
    asked = found.ask(seen)
    assert asked.params.keys() == seen.keys()
    found.tell(asked, 0.95)
    assert found.best_value == 0.95


@pytest.mark.parametrize(("loss", "state", "told"), [(math.nan, "FAIL", "nan"), (math.inf, "COMPLETE", "inf")])
def test_a_completed_trial_with_a_figure_that_is_not_finite(
    store: Store, target: str, loss: float, state: str, told: str
) -> None:
    settings = Settings(space="twelve", objectives=("loss", "accuracy"), trials=1)
    study = store.add_study("odd", settings.to_json())
    with store.writing(study) as writer:
        architecture = TWELVE.draw(Random(0))
        row = writer.add_trial(0, architecture, identity(architecture), "key", 0)
        writer.end(row, 0, State.COMPLETED, values={"loss": loss, "accuracy": 0.5})
    to_optuna(store, queries.study(store, "odd"), target)
    [trial] = opened(target, "odd").trials
    assert trial.state.name == state and trial.user_attrs["nas:value:loss"] == told
    assert trial.values == ([math.inf, 0.5] if state == "COMPLETE" else None)


def test_a_study_that_is_there_or_a_store_of_ours_is_refused_and_left_as_it_is(
    store: Store, store_url: str, target: str
) -> None:
    fill(store, "one", ("accuracy",))
    row = queries.study(store, "one")
    to_optuna(store, row, target)
    with pytest.raises(OptunaError, match=r"there is a study 'one' in .* already: name another database, or delete it"):
        to_optuna(store, row, target)
    assert len(opened(target, "one").trials) == 10
    ours = Store.open(store_url, create=True) if store_url != store.url else store
    with pytest.raises(OptunaError, match="is a store of nas: name another database for Optuna"):
        to_optuna(store, row, ours.address)
    assert plain(ours.address, "SELECT version_num FROM alembic_version") == [("0003",)]
    assert queries.studies(Store.open(ours.address)) == queries.studies(ours)


def test_a_study_that_cannot_be_written_in_full_leaves_nothing(store: Store, target: str) -> None:
    study = fill(store, "one", ("accuracy",))
    with store.writing(study) as writer:
        architecture = WIDE.draw(Random(0))
        architecture["network"]["width"] = 99
        writer.add_trial(50, architecture, "i", "k", 0)
    with pytest.raises(DecisionError, match=r"network\.width"):
        to_optuna(store, queries.study(store, "one"), target)
    assert optuna.get_all_study_names(target.replace("postgresql:", "postgresql+psycopg:")) == []


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("optuna.db", "is no database URL: write it as sqlite:///optuna.db or postgresql://USER@HOST/DATABASE"),
        ("nodb://me:geheim@host/x", r"'nodb://me:\*\*\*@host/x' is no database URL"),
        ("postgresql://me:geheim@127.0.0.1:1/x", r"'postgresql://me:\*\*\*@.* cannot be used by Optuna: .*refused"),
        ("sqlite:////none/optuna.db", "cannot be used by Optuna: unable to open database file"),
    ],
)
def test_what_optuna_cannot_use_is_said_in_a_line(store: Store, url: str, message: str) -> None:
    fill(store, "one", ("accuracy",))
    with pytest.raises(OptunaError, match=message) as raised:
        to_optuna(store, queries.study(store, "one"), url)
    assert "\n" not in str(raised.value) and "geheim" not in str(raised.value)


def test_a_scoring_is_refused(store: Store) -> None:
    store.add_study("scores", {"scoring": {"predictors": {"params": ["params"]}}, "space": "wide"})
    with pytest.raises(OptunaError, match="study 'scores' is a scoring, which has no trials: export a search"):
        to_optuna(store, next(each for each in queries.studies(store)), "sqlite:///x.db")


@pytest.mark.slow
@pytest.mark.parametrize("objectives", [("accuracy",), ("accuracy", "params")])
def test_optunas_dashboard_opens_it(store: Store, target: str, objectives: tuple[str, ...]) -> None:
    dashboard = pytest.importorskip(
        "optuna_dashboard", reason="optuna-dashboard is not installed: pip install nas[test]"
    )
    from werkzeug.test import Client

    fill(store, "one", objectives, trials=20)
    to_optuna(store, queries.study(store, "one"), target)
    client = Client(dashboard.wsgi(target.replace("postgresql:", "postgresql+psycopg:")))

    def get(path: str) -> Any:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.text) if path.startswith("/api") else answer.text

    [listed] = get("/api/studies")["study_summaries"]
    assert listed["study_name"] == "one" and len(listed["directions"]) == len(objectives)
    number = listed["study_id"]
    shown = get(f"/api/studies/{number}")
    states = [trial["state"] for trial in shown["trials"]]
    assert len(states) == 20 and states.count("Complete") == sum(
        row.state == "COMPLETED" for row in queries.trials(store, 1)
    )
    assert {each["name"] for each in shown["union_search_space"]} == {
        "network.width",
        "network.kind",
        "network.kind:c.x",
        "training.rate",
    }
    first = shown["trials"][0]
    assert {each["name"] for each in first["params"]} == WIDE.trace(WIDE.draw(Random(0))).keys()
    assert {"key": "nas:number", "value": "0"} in first["user_attrs"]
    assert [each["step"] for each in first["intermediate_values"]] == [1, 2]
    importances = get(f"/api/studies/{number}/param_importances")["param_importances"]
    assert len(importances) == len(objectives)
    assert "network.width" in get(f"/csv/{number}")
