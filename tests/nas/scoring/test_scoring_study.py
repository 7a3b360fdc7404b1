"""A scoring in a store: several processes that go on with it, and one that was ended before it began."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest
from fake_runs import WIDE, Fake, register

import nas
from nas.scoring.settings import ask
from nas.scoring.study import Scoring
from nas.store import Store, StoreError, queries


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Store:
    register(monkeypatch, WIDE)
    return Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)


def opened(store: Store, count: int, *predictors: str) -> Scoring:
    return Scoring.create(store, ask("wide", count, predictors=predictors), "one")


def test_what_another_process_asked_meanwhile_stays(store: Store) -> None:
    first = opened(store, 5, "params")
    opened(store, 9, "flops").run(Fake())
    first.run(Fake())
    assert first.settings.predictors == ("params", "flops") and first.settings.count == 9
    found = Scoring(store, "one")
    assert found.settings == first.settings and len(found.rows()) == 9
    scores = queries.scores(store, found.row.id, ["params", "flops"])
    assert all(each.keys() == {"params", "flops"} for each in scores.values()) and len(scores) == 9


def test_what_is_asked_adds_to_what_another_process_asked_meanwhile(store: Store) -> None:
    first = opened(store, 5, "params")
    opened(store, 9, "flops")
    first.extend(7, ("memory",), 10**6)
    found = Scoring(store, "one").settings
    assert (found.predictors, found.count, found.memory) == (("params", "flops", "memory"), 9, 10**6)


def test_architectures_of_a_file_do_not_undo_what_another_process_asked(store: Store) -> None:
    asked = replace(ask("wide", 2, predictors=("params",)), source="some")
    architectures = [WIDE.draw(Random(seed)) for seed in range(3)]
    first = Scoring.create(store, asked, "one", architectures[:2])
    Scoring.create(store, replace(asked, columns={"flops": ("flops",)}), "one", architectures)
    first.run(Fake())
    assert Scoring(store, "one").settings.predictors == ("params", "flops") and len(first.rows()) == 3


@pytest.mark.parametrize(
    ("source", "command"), [("some", "nas score --architectures"), ("table:x.csv", "nas predictors evaluate")]
)
def test_a_scoring_that_has_not_read_its_file_says_how_to_go_on(store: Store, source: str, command: str) -> None:
    asked = replace(ask("wide", 2, predictors=("params",)), source=source)
    store.add_study("one", asked.to_json())  # and the process is killed
    with pytest.raises(StoreError, match=f"of {source}: give the same `{command}` again, with --study one$"):
        Scoring(store, "one").run(Fake())
    made = Scoring.create(store, asked, "one", [WIDE.draw(Random(seed)) for seed in range(2)])
    assert made.run(Fake()).done == 2


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ("some", "a longer file to `nas score --architectures`"),
        ("table:x", "`nas predictors evaluate` a larger --count"),
    ],
)
def test_more_than_was_read_is_asked_of_the_command_that_reads(store: Store, source: str, command: str) -> None:
    asked = replace(ask("wide", 1, predictors=("params",)), source=source)
    made = Scoring.create(store, asked, "one", [WIDE.draw(Random(0))])
    with pytest.raises(StoreError, match=f"1 architectures of {source}: for more give {command}"):
        made.extend(20)


def test_one_predictor_may_be_a_plain_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.scoring.study.make_executor", lambda workers: Fake())
    frame = nas.score("wide", "params", count=3, store=store.url)
    assert len(frame) == 3 and list(frame.columns[:3]) == ["number", "params", "mean_rank"]
