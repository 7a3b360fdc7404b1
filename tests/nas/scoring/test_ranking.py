"""Scores and ranks of a scoring, its tallies, and the table it writes; worked by hand."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TWELVE, register

from nas.scoring.ranking import ranked, ranks_of, tallies, to_csv
from nas.scoring.settings import ask
from nas.scoring.study import Scoring
from nas.store import Store
from nas.tasks.table import Table
from predictors import Predictor
from search_spaces import registry
from search_spaces.decisions import identity
from search_spaces.registry import Entry

SCORES = {1: (5.0, 1.0, 9.0), 2: (7.0, 2.0, 9.0), 3: (None, 3.0, 1.0), 4: (5.0, None, None)}


@pytest.fixture
def scoring(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scoring:
    """Four architectures: `plain` could not score the third, and `both` (a product of two parts) not the fourth."""
    register(monkeypatch, TWELVE)
    registry.entries("predictor")
    plain = Predictor("plain", "", lambda *given: {}, cost="")
    both = Predictor(
        "both",
        "",
        lambda *given: {},
        cost="",
        parts=("one", "two"),
        pool=lambda rows: [one * two + len(rows) for one, two in rows],
    )
    for each in (plain, both):
        monkeypatch.setitem(registry._entries["predictor"], each.name, Entry("predictor", each.name, each, ""))
    architectures: list[Any] = [{"network": {"one": "a", "two": two}} for two in SCORES]
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    settings = ask("twelve", 4, None, ("plain", "both"))
    made = Scoring.create(store, settings, "one", architectures)
    with store.writing(made.row.id) as writer:
        for architecture, values in zip(architectures, SCORES.values(), strict=True):
            for column, value in zip(("plain", "both.one", "both.two"), values, strict=True):
                reason = None if value is not None else f"{column} 1,234 breaks it"
                writer.score(identity(architecture), column, value, 0.5, reason)
    return made


def test_equal_scores_share_a_rank_and_what_has_none_has_no_rank() -> None:
    assert ranks_of([3.0, None, 5.0, 3.0, 1.0, 5.0]) == [3, None, 1, 3, 5, 1]


def test_scores_are_pooled_over_all_and_ordered_by_mean_rank(scoring: Scoring) -> None:
    found = ranked(scoring)
    by_number = {each.number: each for each in found}
    assert [by_number[i].scores for i in range(4)] == [
        {"plain": 5.0, "both": 12.0},
        {"plain": 7.0, "both": 21.0},
        {"plain": None, "both": 6.0},
        {"plain": 5.0, "both": None},
    ]
    assert [by_number[i].ranks for i in range(4)] == [
        {"plain": 2, "both": 2},
        {"plain": 1, "both": 1},
        {"plain": None, "both": 3},
        {"plain": 2, "both": None},
    ]
    assert [each.number for each in found] == [1, 0, 3, 2]
    assert [each.mean_rank for each in found] == [1.0, 2.0, 3.0, 3.5]
    assert by_number[3].measured == {"plain": 5.0, "both.one": None, "both.two": None}
    assert by_number[2].reasons == {"plain": "plain 1,234 breaks it"} and by_number[1].reasons == {}


def test_each_predictor_is_tallied(scoring: Scoring) -> None:
    plain, both = tallies(scoring)
    assert (plain.predictor, plain.tried, plain.scored, plain.seconds) == ("plain", 4, 3, 0.5)
    assert (both.predictor, both.tried, both.scored, both.seconds) == ("both", 4, 3, 1.0)
    assert plain.reasons == (("plain 1,234 breaks it", 1),)


def test_reasons_that_differ_in_figures_alone_are_one_and_the_most_common_is_first(scoring: Scoring) -> None:
    said = ["no gradient", "params 300,000 breaks params<=200000", "params 250,001 breaks params<=200000"]
    with scoring.store.writing(scoring.row.id) as writer:
        for i, reason in enumerate(said):
            writer.score(f"other {i}", "plain", None, 0.0, reason)
    plain, _ = tallies(scoring)
    assert plain.reasons[0] == ("params 300,000 breaks params<=200000", 2)
    assert {reason for reason, _ in plain.reasons} == {said[0], said[1], "plain 1,234 breaks it"}


def test_the_table_has_all_columns_and_is_one_that_a_search_looks_up(scoring: Scoring, tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(to_csv(scoring, ranked(scoring)))
    rows = list(csv.reader(path.read_text().splitlines()))
    assert rows[0] == ["architecture", "plain", "both", "both.one", "both.two"]
    assert rows[1][1:] == ["7.0", "21.0", "2.0", "9.0"] and rows[3][1:] == ["5.0", "", "", ""]
    results = Table(str(path)).results(TWELVE, "both")
    assert [(each["network"]["two"], value) for each, value in results] == [(2, 21.0), (1, 12.0), (3, 6.0)]
