"""The store: what is kept, who may open it, and what happens when two processes come at once."""

from __future__ import annotations

import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import astuple
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres import plain
from sqlalchemy.exc import IntegrityError

from nas.store import State, Store, StoreError, Writer, queries
from nas.store.database import REVISION
from nas.store.models import Base, Number


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """A new store, on SQLite and on PostgreSQL."""
    made = Store.open(store_url, create=True)
    yield made
    made.engine.dispose()


def add(writer: Writer, number: int, key: str | None = None) -> int:
    return writer.add_trial(number, {"width": number}, f"identity {number}", key or f"key {number}", seed=number)


def test_numbers_that_are_not_finite_keep_their_kind(store: Store) -> None:
    study = store.add_study("one", {})
    given_values = {
        "nan": math.nan,
        "high": math.inf,
        "low": -math.inf,
        "negative": -2.5,
        "third": 1 / 3,
        "tiny": 5e-324,
    }
    with store.writing(study) as writer:
        trial = add(writer, 0)
        writer.start(trial, 1, "w", "cpu")
        writer.report(trial, 1, given_values)
        writer.end(trial, 1, State.COMPLETED, values=given_values)
        writer.score("identity 0", "gradsign", math.nan, 0.1)
    [row] = queries.trials(store, study)
    metrics = {name: points[0][1] for name, points in queries.curves(store, trial).items()}
    for kept in (row.values, metrics):
        assert {name: value.hex() for name, value in kept.items()} == {n: v.hex() for n, v in given_values.items()}
    assert str(plain(store.address, "SELECT value FROM score")[0][0]) == "nan"


def test_a_key_and_a_number_are_unique_in_a_study_alone(store: Store) -> None:
    one, other = store.add_study("one", {}), store.add_study("other", {})
    for study in (one, other):
        with store.writing(study) as writer:
            add(writer, 0, "same")
    for number, key in ((1, "same"), (0, "another")):
        with pytest.raises(IntegrityError), store.writing(one) as writer:
            add(writer, number, key)
    assert queries.count(store, one) == queries.count(store, other) == 1


def test_a_trial_needs_its_study_and_goes_with_it(store: Store) -> None:
    with pytest.raises(IntegrityError), store.writing(99) as writer:
        add(writer, 0)
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        trial = add(writer, 0)
        writer.start(trial, 1, "w", "cpu")
        writer.report(trial, 1, {"loss": 1.0})
        writer.event("asked", {"turn": 0}, trial)
    with store.engine.begin() as connection:
        connection.execute(sa.text("DELETE FROM study"))
    for table in ("trial", "attempt", "metric", "event"):
        assert plain(store.address, f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    study = store.add_study("one", {})
    with pytest.raises(RuntimeError), store.writing(study) as writer:
        trial = add(writer, 0)
        writer.event("asked", {}, trial)
        raise RuntimeError("between two writes")
    assert plain(store.address, "SELECT (SELECT count(*) FROM trial) + (SELECT count(*) FROM event)") == [(0,)]


def test_readers_go_on_beside_a_writer(store: Store) -> None:
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        add(writer, 0)
    with store.writing(study) as writer:
        add(writer, 1)
        begin = time.monotonic()
        assert queries.count(store, study) == 1
        assert queries.count(Store.open(store.address), study) == 1
        assert time.monotonic() - begin < 5
    assert queries.count(store, study) == 2


def types_differ(_context: object, _column: object, _model: object, found: object, wanted: object) -> bool | None:
    """SQLAlchemy reads our DOUBLE PRECISION back as another kind of float; other types are Alembic's to compare."""
    return not isinstance(found, sa.Float) if isinstance(wanted, Number) else None


def structure(engine: sa.Engine) -> dict[str, Any]:
    """All that the database itself says of our tables."""
    found = sa.inspect(engine)
    return {
        table: (
            [{name: str(value) for name, value in column.items()} for column in found.get_columns(table)],
            found.get_pk_constraint(table),
            sorted(found.get_foreign_keys(table), key=str),
            sorted(found.get_unique_constraints(table), key=str),
            sorted(found.get_indexes(table), key=str),
        )
        for table in Base.metadata.tables
    }


def test_the_migrations_give_exactly_the_schema_of_the_models(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": types_differ})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == REVISION
    # What Alembic does not compare: primary keys, and what a deletion cascades to.
    url = f"sqlite:///{tmp_path}/made.db"
    if store.shared:
        url = request.getfixturevalue("databases")().replace("postgresql:", "postgresql+psycopg:")
    made = sa.create_engine(url)
    Base.metadata.create_all(made)
    assert structure(store.engine) == structure(made)
    made.dispose()


def test_scores_are_read_by_architecture_and_column(store: Store) -> None:
    one, two = store.add_study("one", {}), store.add_study("two", {})
    with store.writing(one) as writer:
        writer.score("a", "gradsign", 1.5, 0.1)
        writer.score("a", "params", None, 0.2, "why")
        writer.score("b", "params", 7.0, 0.3)
        writer.score("b", "params", 8.0, 0.4, "again")
    with store.writing(two) as writer:
        writer.score("a", "gradsign", 9.0, 0.1)
    assert queries.scores(store, one, ["gradsign", "params"]) == {
        "a": {"gradsign": 1.5, "params": None},
        "b": {"params": 8.0},
    }
    assert queries.scores(store, one, ["gradsign"]) == {"a": {"gradsign": 1.5}}
    assert sorted(map(astuple, queries.scored(store, one, ["params"]))) == [
        ("a", "params", None, 0.2, "why"),
        ("b", "params", 8.0, 0.4, "again"),
    ]


OPEN = """
import sys, time
from nas.store import Store
time.sleep(max(0, {at} - time.time()))
Store.open(sys.argv[1], create=True)
"""


@pytest.mark.slow
def test_processes_that_open_a_new_store_at_once_all_succeed(store_url: str) -> None:
    code = OPEN.format(at=time.time() + 3)
    openers = [subprocess.Popen([sys.executable, "-c", code, store_url], stderr=subprocess.PIPE) for _ in range(4)]
    for opener in openers:
        _, errors = opener.communicate(timeout=60)
        assert opener.returncode == 0, errors.decode()
    assert plain(store_url, "SELECT version_num FROM alembic_version") == [(REVISION,)]


def test_a_migration_that_fails_half_way_leaves_an_empty_database(
    store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    create = op.create_index

    def fail(name: str, *args: object, **options: object) -> None:
        if name == "event_by_study":
            raise RuntimeError("killed")
        create(name, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(op, "create_index", fail)
        Store.open(store_url, create=True)
    if store_url.startswith("sqlite"):
        assert plain(store_url, "SELECT name FROM sqlite_master") == []
    else:
        assert plain(store_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []
    assert queries.studies(Store.open(store_url, create=True)) == []


def test_a_step_reported_again_replaces_itself(store: Store) -> None:
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        trial = add(writer, 0)
        writer.report(trial, 1, {"loss": 1.0, "accuracy": 0.1})
        writer.report(trial, 1, {"loss": 2.0})
        writer.report(trial, 2, {})
        for value in (1.0, None):
            writer.score("identity 0", "gradsign", value, 0.1)
    assert queries.curves(store, trial) == {"accuracy": [(1, 0.1)], "loss": [(1, 2.0)]}
    assert plain(store.address, "SELECT value FROM score") == [(None,)]


def test_the_name_of_a_study_is_taken_once(store: Store) -> None:
    store.add_study("one", {})
    with pytest.raises(StoreError, match="study 'one' exists already: choose another --study"):
        store.add_study("one", {})


def test_json_keeps_numbers_that_are_not_finite_and_is_strict_in_the_database(store: Store) -> None:
    settings = {"bounds": [math.inf, {"low": -math.inf}], "plain": {"x": 1.5}, "nan": math.nan}
    store.add_study("one", settings)
    kept = queries.study(store, "one").settings
    assert kept["bounds"] == settings["bounds"] and kept["plain"] == {"x": 1.5} and math.isnan(kept["nan"])
    [(text,)] = plain(store.address, "SELECT CAST(settings AS TEXT) FROM study")
    assert "NaN" not in str(text) and "Infinity" not in str(text)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("shape (2, 3)\n  at line 4\t→ ü", "shape (2, 3)\n  at line 4\t→ ü"),
        ("a\0b", "a\\x00b"),
        ("half \ud800 a pair", "half \\ud800 a pair"),
        ("", ""),
    ],
)
def test_whatever_a_program_said_is_kept(store: Store, said: str, kept: str) -> None:
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        trial = add(writer, 0)
        writer.start(trial, 1, "w", "cpu")
        writer.end(trial, 1, State.FAILED, reason=said, error=said)
        writer.score("identity 0", "gradsign", None, 0.1, said)
    assert queries.trials(store, study)[0].reason == kept
    assert queries.attempts(store, trial)[0].error == kept
    assert queries.scored(store, study)[0].reason == kept


def test_files_lie_where_the_study_says_and_else_in_the_usual_place(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, later = tmp_path / "begun", tmp_path / "later"
    begun.mkdir()
    later.mkdir()
    monkeypatch.chdir(begun)
    store.add_study("usual", {})
    store.add_study("elsewhere", {"files": "/data/nets/seven"})
    store.add_study("stored", {"files": "s3://bucket/nets/stored"})
    monkeypatch.chdir(later)
    for each in (store, Store.open(store.address)):
        home = begun if store.shared else tmp_path
        assert each.folder("usual") == home / "nas_files" / "usual"
        assert each.folder("elsewhere") == Path("/data/nets/seven")
        assert each.folder("stored") == (later if store.shared else tmp_path) / "nas_files" / "stored"
