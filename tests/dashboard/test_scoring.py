"""The pages of a scoring, in which nothing is trained."""

from __future__ import annotations

from pathlib import Path

from dashboard.app import route
from nas.store import State, Store

SETTINGS = {"space": "kan_vision", "task": "digits", "trials": 3, "constraints": [], "seed": 0}


def test_a_scoring_is_listed_and_its_page_names_the_command_that_ranks_it(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    columns = {"gradsign": ["gradsign"], "consensus": ["consensus.one", "consensus.two"]}
    study = store.add_study("mine", SETTINGS | {"scoring": {"predictors": columns}})
    with store.writing(study) as writer:
        for number in range(3):
            row = writer.add_trial(number, {"network": {}}, f"who {number}", f"key {number}", 0, kind="score")
            writer.end(row, 0, State.COMPLETED)
            for column in ("gradsign", "consensus.one", "consensus.two")[: 3 if number < 2 else 1]:
                writer.score(f"who {number}", column, 1.0, 0.1)
    listed, page = str(route(store, "/")), str(route(store, "/study/mine"))
    assert "2 / 3" in listed and "interrupted" in listed
    assert "tried 2 architectures" in page and f"nas show mine --store {store.url}" in page
    assert "gradsign, consensus" in page and "kan_vision" in page
    assert "Trial 2" in str(route(store, "/study/mine/trial/2"))
    assert "has no trial 3" in str(route(store, "/study/mine/trial/3"))
