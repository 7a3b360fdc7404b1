"""The table of trials: pages, order and filters, against SQL written here by hand."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from dashboard.pages.grid import answer
from nas.store import Store


def ask(store: Store, start: int = 0, end: int = 100, sort: Any = None, study: str = "two", **filters: Any) -> Any:
    order = [{"colId": sort[0], "sort": sort[1]}] if sort else []
    return answer(store, study, {"startRow": start, "endRow": end, "sortModel": order, "filterModel": filters})


def numbers(got: Any) -> list[int]:
    return [row["number"] for row in got["rowData"]]


def sql(store: Store, where: str = "1", order: str = "t.number", study: str = "two") -> list[int]:
    query = f"""
        SELECT t.number FROM trial t JOIN study s ON s.id = t.study_id
        LEFT JOIN value a ON a.trial_id = t.id AND a.name = 'accuracy'
        LEFT JOIN value p ON p.trial_id = t.id AND p.name = 'params'
        WHERE s.name = '{study}' AND t.kind = 'search' AND {where} ORDER BY {order}"""
    with sqlite3.connect(store.path) as connection:
        return [row[0] for row in connection.execute(query)]


def test_pages_follow_each_other_without_gap_or_overlap(store: Store) -> None:
    pages = [ask(store, start, start + 100) for start in (0, 100, 200)]
    assert [number for page in pages for number in numbers(page)] == sql(store)
    assert {page["rowCount"] for page in pages} == {len(sql(store))}


@pytest.mark.parametrize(
    ("column", "expression"),
    [
        ("number", "t.number"),
        ("state", "t.state"),
        ("created", "t.created"),
        ("value0", "a.value"),
        ("value1", "p.value"),
    ],
)
@pytest.mark.parametrize("way", ["asc", "desc"])
def test_rows_are_sorted_by_any_column_with_missing_values_last(
    store: Store, column: str, expression: str, way: str
) -> None:
    missing = f"{expression} IS NULL, " if column.startswith("value") else ""
    expected = sql(store, order=f"{missing}{expression} {way}, t.number")
    got = [n for start in (0, 100, 200) for n in numbers(ask(store, start, start + 100, (column, way)))]
    assert got == expected


@pytest.mark.parametrize(
    ("filters", "where"),
    [
        ({"state": {"filter": "FAIL"}}, "t.state = 'FAILED'"),
        ({"state": {"filter": "ed"}}, "t.state IN ('COMPLETED', 'STOPPED', 'FAILED', 'PAUSED')"),
        ({"number": {"type": "equals", "filter": 12}}, "t.number = 12"),
        ({"number": {"type": "inRange", "filter": 9.5, "filterTo": 20}}, "t.number BETWEEN 10 AND 20"),
        ({"number": {"type": "lessThanOrEqual", "filter": 1e300}}, "1"),
        ({"number": {"type": "greaterThanOrEqual", "filter": 1e300}}, "0"),
        ({"value0": {"type": "greaterThanOrEqual", "filter": 0.85}}, "a.value >= 0.85"),
        ({"value1": {"type": "inRange", "filter": 2000, "filterTo": 9000}}, "p.value BETWEEN 2000 AND 9000"),
        (
            {
                "value0": {"type": "greaterThanOrEqual", "filter": 0.8},
                "value1": {"type": "lessThanOrEqual", "filter": 5e3},
            },
            "a.value >= 0.8 AND p.value <= 5000",
        ),
        ({"state": {"filter": "no such state"}}, "0"),
    ],
)
def test_filters_let_through_what_the_database_finds(store: Store, filters: dict[str, Any], where: str) -> None:
    got = ask(store, 0, 500, **filters)
    assert numbers(got) == sql(store, where)
    assert got["rowCount"] == len(sql(store, where))


def test_exactly_the_trials_that_none_beats_are_marked(store: Store) -> None:
    unbeaten = """t.state = 'COMPLETED' AND NOT EXISTS (
        SELECT 1 FROM trial u JOIN value b ON b.trial_id = u.id AND b.name = 'accuracy'
        JOIN value q ON q.trial_id = u.id AND q.name = 'params'
        WHERE u.study_id = t.study_id AND u.kind = 'search' AND u.state = 'COMPLETED'
        AND b.value >= a.value AND q.value <= p.value AND (b.value > a.value OR q.value < p.value))"""
    marked = [row["number"] for row in ask(store, 0, 500)["rowData"] if row["front"]]
    assert marked == sql(store, unbeaten)


def test_a_confirmed_trial_shows_mean_and_spread(store: Store) -> None:
    rows = {row["number"]: row for row in ask(store, 0, 500)["rowData"]}
    assert rows[20]["confirmed"] == "0.8200 ± 0.0283 (2 runs)"
    assert not any(row["confirmed"] for number, row in rows.items() if number != 20)
