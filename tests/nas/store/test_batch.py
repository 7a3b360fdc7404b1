"""What is written with every trial: gathered, sent at once, and in the database as SQLAlchemy would have it."""

from __future__ import annotations

import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa
from postgres import Postgres, plain
from sqlalchemy.engine import Engine

from nas.store import State, Store, StoreAway, queries
from nas.store.batch import Batch
from nas.store.models import Attempt, Base, Event, Metric, Score, Trial, Value
from nas.store.postgres import RESTED
from nas.store.sql_writer import IDS

ROWS: dict[type[Base], list[dict[str, Any]]] = {
    Trial: [
        {
            "id": 7,
            "study_id": 1,
            "number": 0,
            "kind": "search",
            "state": State.FAILED,
            "architecture": {"a": [1, math.inf]},
        }
        | {"identity": "é", "key": "k'1", "repeat": 0, "parent": None, "seed": 2**40, "reason": "\0 %s ? :x\udc80"}
        | {"created": 1.5, "ended": None, "forked_at": None, "driver": None},
        {"id": 8, "study_id": 1, "number": 1, "kind": "search", "state": State.WAITING, "architecture": [None]}
        | {"identity": "", "key": "k2", "repeat": 3, "parent": 0, "seed": -1, "reason": None}
        | {"created": 0.0, "ended": 1e300, "forked_at": 2, "driver": 4},
    ],
    Attempt: [
        {"trial_id": 7, "number": 1, "worker": "w", "device": "cpu", "started": 1.0, "ended": 2.0, "error": "a\nb\0"}
    ],
    Metric: [
        {"trial_id": 7, "step": 1, "name": name, "value": value}
        for name, value in {"nan": math.nan, "low": -math.inf, "tiny": 5e-324, "count": 3}.items()
    ],
    Value: [{"trial_id": 8, "name": "accuracy", "value": 0.1}],
    Score: [{"study_id": 1, "identity": "é", "predictor": "p", "value": None, "seconds": 0.5, "reason": "why\0"}],
    Event: [
        {"study_id": 1, "trial_id": 7, "kind": "asked", "payload": {"note": {"x": math.nan}, "é": '"'}, "at": 3.0},
        {"study_id": 1, "trial_id": None, "kind": "closing", "payload": {}, "at": 4.0},
    ],
}


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    made = Store.open(store_url, create=True)
    yield made
    made.engine.dispose()


def contents(store: Store, model: type[Base]) -> list[str]:
    names = ", ".join(column.name for column in model.__table__.columns)
    return [repr(row) for row in plain(store.address, f"SELECT {names} FROM {model.__tablename__} ORDER BY 1, 2, 3")]


@pytest.mark.parametrize("model", ROWS, ids=lambda model: model.__tablename__)
def test_rows_are_as_sqlalchemy_writes_them(store: Store, model: type[Base]) -> None:
    store.add_study("one", {})
    with store.begun() as connection:
        if model is not Trial:
            connection.execute(sa.insert(Trial), ROWS[Trial])
    rows = ROWS[model]
    with store.begun() as connection:
        for row in rows:
            connection.execute(sa.insert(model), row)
    expected = contents(store, model)
    with store.begun() as connection:
        connection.execute(sa.delete(model))
    with store.begun() as connection:
        batch = Batch(connection)
        batch.add(sa.insert(model).inline(), rows)
        batch.execute()
    written = contents(store, model)
    if model in (Attempt, Event):  # whose ids the database gives
        written, expected = ([each.partition(", ")[2] for each in part] for part in (written, expected))
    assert written == expected and len(written) == len(rows)


def add(store: Store, study: int, number: int) -> int:
    with store.writing(study) as writer:
        return writer.add_trial(number, {}, f"i{number}", f"k{study}/{number}", 0)


def test_what_becomes_of_a_trial_in_one_transaction_is_as_if_each_step_were_written(store: Store) -> None:
    study = store.add_study("one", {})
    old = add(store, study, 0)
    with store.writing(study) as writer:
        writer.start(old, 1, "w", "cpu")
        writer.pause(old, 1)
    with store.writing(study) as writer:
        writer.report(old, 1, {"loss": 2.0})
        writer.report(old, 1, {"loss": 1.0})
        writer.release(old)
        assert writer.claim(old)
        writer.start(old, 2, "v", "cpu")
        new = writer.add_trial(1, {"x": 1}, "i", "k", 5, parent=0)
        writer.start(new, 1, "w", "cpu")
        writer.lose(new, 1, "gone")
        writer.start(new, 2, "u", "cpu")
        writer.end(new, 2, State.COMPLETED, values={"accuracy": 0.5}, reason=None)
        assert not writer.claim(new)
        writer.mark(old, State.STALE)
    first, second = queries.trials(store, study)
    assert (first.state, first.ended, first.values, second.state, second.values, second.parent) == (
        State.STALE, None, {}, State.COMPLETED, {"accuracy": 0.5}, 0,
    )  # fmt: skip
    assert queries.curves(store, old)["loss"] == [(1, 1.0)]
    tries = {row: [(each.worker, each.ended is None, each.error) for each in queries.attempts(store, row)]
             for row in (old, new)}  # fmt: skip
    assert tries == {
        old: [("w", False, None), ("v", True, None)],
        new: [("w", False, "gone"), ("u", False, None)],
    }


def test_a_trial_that_begins_and_ends_at_once_is_written_once(tmp_path: Any) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    study, said = store.add_study("one", {}), list[str]()
    with store.writing(study) as writer:
        driver: Any = writer._connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        driver.set_trace_callback(lambda text: said.append(text.split()[0]))
        for number in range(3):
            row = writer.add_trial(number, {}, f"i{number}", f"k{number}", 0)
            writer.start(row, 1, "w", "cpu")
            writer.end(row, 1, State.COMPLETED, values={"accuracy": 0.5})
            writer.event("told", {}, row)
    driver.set_trace_callback(None)
    assert said == ["BEGIN", "SELECT", *["INSERT"] * 12, "COMMIT"]


def test_studies_that_grow_at_the_same_time_have_no_id_in_common(store: Store) -> None:
    many = IDS + 5
    studies = [store.add_study(name, {}) for name in ("one", "two", "three")]

    def grow(study: int) -> None:
        for number in range(0, many, 3):
            with store.writing(study) as writer:
                for each in range(number, number + 3):
                    row = writer.add_trial(each, {"study": study}, f"i{each}", f"k{each}", 0)
                    writer.event("asked", {}, row)

    with ThreadPoolExecutor(len(studies)) as pool:
        list(pool.map(grow, studies))
    for study in studies:
        rows = queries.trials(store, study)
        assert [row.number for row in rows] == list(range(many)) and {row.architecture["study"] for row in rows} == {
            study
        }
        assert [event.trial for event, _ in queries.replayed(store, study)] == [row.id for row in rows]


def test_a_server_that_goes_away_in_a_batch_is_away_and_nothing_is_written(postgres: Postgres, database: str) -> None:
    store = Store.open(database, create=True)
    study = store.add_study("one", {})
    with pytest.raises(StoreAway, match="is away"), store.writing(study) as writer:
        writer.add_trial(0, {}, "i", "k", 0)
        backend: Any = writer._connection.connection.driver_connection
        postgres.sql("postgres", f"SELECT pg_terminate_backend({backend.info.backend_pid})")
    assert queries.trials(store, study) == []
    add(store, study, 0)
    assert len(queries.trials(store, study)) == 1
    store.engine.dispose()


@pytest.mark.parametrize("rested", [0.0, 60.0])
def test_a_connection_that_was_cut_while_it_rested_is_replaced(
    postgres: Postgres, database: str, monkeypatch: pytest.MonkeyPatch, rested: float
) -> None:
    store = Store.open(database, create=True)
    study = store.add_study("one", {})
    monkeypatch.setattr("nas.store.postgres.RESTED", rested)
    name = database.rpartition("/")[2]
    postgres.sql("postgres", f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    if rested:
        with pytest.raises(StoreAway):
            add(store, study, 0)
    add(store, study, 0)
    assert len(queries.trials(store, study)) == 1
    store.engine.dispose()


def test_ids_that_a_server_may_have_forgotten_are_not_used(database: str) -> None:
    """A server that goes away before a transaction is kept may give the same ids to others."""
    store = Store.open(database, create=True)
    study = store.add_study("one", {})
    with store.driving("one") as seat:
        with pytest.raises(RuntimeError), seat.writing(study) as writer:
            writer.add_trial(0, {}, "i", "k", 0)
            raise RuntimeError
        plain(database, "ALTER SEQUENCE trial_id_seq RESTART")
        with store.writing(study) as other:
            for number in range(2):
                other.add_trial(number, {}, "i", f"k{number}", 0)
        with seat.writing(study) as writer:
            writer.add_trial(2, {}, "i", "k2", 0)
    assert [row.number for row in queries.trials(store, study)] == [0, 1, 2]
    store.engine.dispose()


def test_a_new_connection_is_not_asked_whether_it_is_there(database: str) -> None:
    store = Store.open(database, create=True)
    store.engine.dispose()
    with store.engine.connect() as connection:
        assert time.monotonic() - connection.info["since"] < RESTED
    store.engine.dispose()


def test_a_lease_goes_on_being_renewed_whatever_a_connection_does(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store.open(database, create=True)
    store.add_study("one", {})
    with store.driving("one") as seat, monkeypatch.context() as broken:
        broken.setattr(Engine, "begin", raising(sa.exc.InvalidRequestError("This connection is closed")))
        seat.beat()
    store.engine.dispose()


def raising(error: Exception) -> Callable[..., None]:
    def fail(*arguments: object) -> None:
        raise error

    return fail
