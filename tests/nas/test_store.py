"""The store on SQLite: what is kept, who may open it, and what happens when two processes come at once."""

from __future__ import annotations

import hashlib
import math
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import astuple
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.exc import IntegrityError

from nas.store import State, Store, StoreError, Writer, migrations, queries
from nas.store.models import Base, Number
from nas.store.store import REVISION


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)


def add(writer: Writer, number: int, key: str | None = None) -> int:
    return writer.add_trial(number, {"width": number}, f"identity {number}", key or f"key {number}", seed=number)


def plain(path: Path, statement: str) -> list[tuple[object, ...]]:
    """Ask a database without any of our code."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(statement).fetchall()
    finally:
        connection.close()


def contents(folder: Path) -> dict[str, str]:
    """All files under a folder by what is in them."""
    files = (file for file in sorted(folder.rglob("*")) if file.is_file())
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_connection_has_the_pragmas(store: Store) -> None:
    with store.engine.connect() as one, store.engine.connect() as other:
        for connection in (one, other):
            read = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "foreign_keys")]
            assert read == ["wal", 1]
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 1  # NORMAL
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 60_000


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
    assert plain(store.path, "SELECT value FROM score") == [("nan",)]


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
        assert plain(store.path, f"SELECT count(*) FROM {table}") == [(0,)]


def test_a_failed_transaction_leaves_nothing(store: Store) -> None:
    study = store.add_study("one", {})
    with pytest.raises(RuntimeError), store.writing(study) as writer:
        trial = add(writer, 0)
        writer.event("asked", {}, trial)
        raise RuntimeError("between two writes")
    assert plain(store.path, "SELECT (SELECT count(*) FROM trial) + (SELECT count(*) FROM event)") == [(0,)]


def test_readers_go_on_beside_a_writer(store: Store) -> None:
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        add(writer, 0)
    with store.writing(study) as writer:
        add(writer, 1)
        begin = time.monotonic()
        assert queries.count(store, study) == 1
        assert queries.count(Store.open(store.url), study) == 1
        assert time.monotonic() - begin < 5
    assert queries.count(store, study) == 2


def test_a_second_writer_waits_for_the_first(store: Store) -> None:
    study = store.add_study("one", {})
    inside, order = threading.Event(), []

    def second() -> None:
        inside.wait()
        with store.writing(study) as writer:
            add(writer, 1)
            order.append("second")

    thread = threading.Thread(target=second)
    thread.start()
    with store.writing(study) as writer:
        add(writer, 0)
        inside.set()
        time.sleep(0.3)
        order.append("first")
    thread.join()
    assert order == ["first", "second"] and queries.count(store, study) == 2


def types_differ(_context: object, _column: object, _model: object, found: object, wanted: object) -> bool | None:
    """SQLAlchemy reads our DOUBLE PRECISION back as REAL; other types are Alembic's to compare."""
    return not isinstance(found, sa.REAL) if isinstance(wanted, Number) else None


def test_the_migrations_give_exactly_the_schema_of_the_models(store: Store, tmp_path: Path) -> None:
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": types_differ})
        assert compare_metadata(context, Base.metadata) == []
        assert context.get_current_revision() == REVISION
    # SQLite's own words, since Alembic does not compare primary keys and what a deletion cascades to.
    made = sa.create_engine(f"sqlite:///{tmp_path}/made.db")
    Base.metadata.create_all(made)
    for table in Base.metadata.tables:
        for pragma in ("table_xinfo", "foreign_key_list"):
            ask = f"SELECT * FROM pragma_{pragma}('{table}') ORDER BY 1, 2"
            assert plain(store.path, ask) == plain(tmp_path / "made.db", ask), table


def test_a_migration_that_fails_half_way_leaves_an_empty_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from alembic import op

    create = op.create_index

    def fail(name: str, *args: object, **options: object) -> None:
        if name == "event_by_study":
            raise RuntimeError("killed")
        create(name, *args, **options)  # type: ignore[arg-type]

    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(op, "create_index", fail)
        Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    assert plain(tmp_path / "nas.db", "SELECT name FROM sqlite_master") == []
    assert queries.studies(Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)) == []


def old_store(path: Path) -> list[str]:
    """Make a store as the first schema had it, with a row in every table; return the tables."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
    engine.dispose()
    old = sqlite3.connect(path)
    old.executescript("""
        INSERT INTO study VALUES (1, 'one', '{"trials": 1, "screen": "gradsign:4"}', 10.5);
        INSERT INTO trial VALUES
            (7, 1, 0, 'search', 'COMPLETED', '{"width": 3}', 'who', 'key', 0, NULL, 5, 'why', 11.0, 12.0);
        INSERT INTO attempt VALUES (1, 7, 1, 'inline', 'cpu', 11.0, 12.0, NULL);
        INSERT INTO metric VALUES (7, 1, 'loss', 0.25);
        INSERT INTO value VALUES (7, 'accuracy', 0.5);
        INSERT INTO artifact VALUES (7, 'weights', '00000/weights', 'abc', 100);
        INSERT INTO event VALUES (1, 1, 7, 'asked', '{"turn": 0}', 11.0);
        INSERT INTO score VALUES (1, 'who', 'gradsign', 123.0, 0.5), (1, 'other', 'gradsign', NULL, 0.25);
    """)
    tables = [str(name) for (name,) in old.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    old.close()
    return tables


def test_a_store_of_the_first_schema_is_upgraded_and_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "nas.db"
    tables = [name for name in old_store(path) if name != "alembic_version"]
    assert len(tables) == 8
    before = {name: plain(path, f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables}
    assert all(before.values())
    store = Store.open(f"sqlite:///{path}")
    after = {name: plain(path, f"SELECT * FROM {name} ORDER BY 1, 2") for name in tables}
    assert after.pop("score") == [(*row, None) for row in before.pop("score")]
    assert after == before and plain(path, "SELECT version_num FROM alembic_version") == [("0002",)]
    with store.writing(1) as writer:
        writer.score("other", "gradsign", None, 0.25, "it has no gradient")
    found = {row.identity: (row.value, row.seconds, row.reason) for row in queries.scored(store, 1, ["gradsign"])}
    assert found == {"who": (123.0, 0.5, None), "other": (None, 0.25, "it has no gradient")}
    assert Store.open(f"sqlite:///{path}").url == store.url


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


def not_a_database(folder: Path) -> str:
    (folder / "notes.txt").write_text("these are notes, not tables")
    return f"sqlite:///{folder}/notes.txt"


def cut_short(folder: Path) -> str:
    Store.open(f"sqlite:///{folder}/nas.db", create=True).engine.dispose()
    whole = (folder / "nas.db").read_bytes()
    (folder / "nas.db").write_bytes(whole[:100] + b"\xff" * 5000)
    return f"sqlite:///{folder}/nas.db"


def another_programs(folder: Path) -> str:
    plain(folder / "other.db", "CREATE TABLE users (name TEXT)")
    return f"sqlite:///{folder}/other.db"


def another_programs_with_alembic(folder: Path) -> str:
    plain(folder / "optuna.db", "CREATE TABLE alembic_version (version_num TEXT)")
    plain(folder / "optuna.db", "CREATE TABLE studies (name TEXT)")
    connection = sqlite3.connect(folder / "optuna.db")
    with connection:
        connection.execute("INSERT INTO alembic_version VALUES ('v3.2.0.a')")
    connection.close()
    return f"sqlite:///{folder}/optuna.db"


def of_a_newer_nas(folder: Path) -> str:
    store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
    with store.engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    store.engine.dispose()
    return store.url


BAD: dict[str, tuple[Callable[[Path], str], str]] = {
    "no URL": (lambda folder: f"{folder}/nas.db", r"is not a database URL: write it as sqlite:///nas\.db"),
    "nonsense": (lambda folder: "sqlite://a:b:c/d", "is not a database URL"),
    "postgres": (lambda folder: "postgresql://me@host/nas", "is not supported: .* SQLite"),
    "two slashes": (lambda folder: "sqlite://nas.db", r"names no file: write it as sqlite:///nas\.db"),
    "a host": (lambda folder: f"sqlite://host{folder}/nas.db", "names no file"),
    "memory": (lambda folder: "sqlite:///:memory:", "names no file"),
    "a folder": (lambda folder: f"sqlite:///{folder}", "is a folder; name a file"),
    "not a database": (not_a_database, r"notes\.txt is not a database; give another file"),
    "cut short": (cut_short, "cannot be used: .*; give another file"),
    "another program's": (another_programs, "is another program's database: give another file"),
    "another program's, with alembic": (another_programs_with_alembic, "is another program's database"),
    "a newer nas": (of_a_newer_nas, "made by a newer nas .*: upgrade nas"),
    "no folder": (lambda folder: f"sqlite:///{folder}/none/nas.db", "is not a folder that can be written to"),
    "a file as folder": (lambda folder: not_a_database(folder) + "/nas.db", "notes.txt"),
    "too long": (lambda folder: f"sqlite:///{folder}/{'x' * 300}.db", "cannot be opened: .*too long"),
    "a device": (lambda folder: "sqlite:////dev/null", "cannot be"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_opened_is_said_in_a_line_and_left_as_it_was(tmp_path: Path, case: str) -> None:
    make, message = BAD[case]
    url = make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(StoreError, match=message) as raised:
        Store.open(url, create=True)
    assert "\n" not in str(raised.value) and repr(url) in str(raised.value)
    assert contents(tmp_path) == before


def test_a_store_that_is_not_there_is_not_made_unless_asked_for(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"there is no store at .*: start one with `nas search`"):
        Store.open(f"sqlite:///{tmp_path}/nas.db")
    assert contents(tmp_path) == {}


@given(text=st.text(max_size=30))
def test_no_text_makes_the_program_stumble(text: str) -> None:
    for url in (text, f"sqlite:{text}", f"sqlite://{text}"):
        try:
            Store.open(url).engine.dispose()
        except StoreError as error:
            assert repr(url) in str(error) or "there is no store at" in str(error)


OPEN = """
import sys, time
from nas.store import Store
time.sleep(max(0, {at} - time.time()))
Store.open(sys.argv[1], create=True)
"""


def test_processes_that_open_a_new_store_at_once_all_succeed(tmp_path: Path) -> None:
    for attempt in range(2):
        url = f"sqlite:///{tmp_path}/{attempt}.db"
        code = OPEN.format(at=time.time() + 2.5)
        openers = [subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE) for _ in range(4)]
        for opener in openers:
            _, errors = opener.communicate(timeout=60)
            assert opener.returncode == 0, errors.decode()
        assert plain(tmp_path / f"{attempt}.db", "SELECT version_num FROM alembic_version") == [(REVISION,)]


DRIVE = """
import sys, time
from nas.store import Store, StoreError
try:
    with Store.open(sys.argv[1]).driving("one"):
        print("driving", flush=True)
        time.sleep(60)
except StoreError as error:
    print(error, flush=True)
"""


def test_one_process_drives_a_study_and_its_death_frees_it(store: Store) -> None:
    store.add_study("one", {})
    assert not store.driven("one") and not store.folder("one").exists()
    driver = subprocess.Popen([sys.executable, "-c", DRIVE, store.url], stdout=subprocess.PIPE, text=True)
    try:
        assert driver.stdout is not None and driver.stdout.readline() == "driving\n"
        assert store.driven("one") and not store.driven("other")
        with pytest.raises(StoreError, match="'one' is being run by another process"), store.driving("one"):
            pytest.fail("two drivers")
        with store.driving("other"):
            assert store.driven("other")
        driver.send_signal(signal.SIGKILL)
        driver.wait()
        assert not store.driven("one")
        with store.driving("one"):
            second = subprocess.run([sys.executable, "-c", DRIVE, store.url], capture_output=True, text=True)
            assert "'one' is being run by another process" in second.stdout
        assert not store.driven("one")
    finally:
        driver.kill()


def test_asking_whether_a_study_is_driven_never_keeps_a_driver_out(store: Store) -> None:
    store.add_study("one", {})
    with store.driving("one"):
        pass
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            store.driven("one")

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(200):
            with store.driving("one"):
                pass
    finally:
        over.set()
        for thread in threads:
            thread.join()


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
    assert plain(store.path, "SELECT value FROM score") == [(None,)]


def test_the_name_of_a_study_is_taken_once(store: Store) -> None:
    store.add_study("one", {})
    with pytest.raises(StoreError, match="study 'one' exists already: choose another --study"):
        store.add_study("one", {})


def test_a_store_that_cannot_be_written_to_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.store.store.WAIT", 0.1)
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    study = store.add_study("one", {})
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreError, match=r"cannot be written to .database is locked.: see that no other program"):
        with store.writing(study) as writer:
            add(writer, 0)
    with pytest.raises(StoreError, match="cannot be written to"):
        store.add_study("two", {})
    other.execute("ROLLBACK")
    with store.writing(study) as writer:
        add(writer, 0)
