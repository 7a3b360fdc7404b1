"""`nas store check`: each fault is done by hand, in the database's own words, and must be found and named."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from postgres import plain

from nas.store import State, Store, StoreError, queries
from nas.storing.check import Check, check_store
from search_spaces.decisions import identity


@pytest.fixture
def store(store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A sound store: a study with a trial in every state, a fork and a confirmation, and one without trials."""
    monkeypatch.chdir(tmp_path)
    made = Store.open(store_url, create=True)
    made.add_study("empty", {"objectives": ["accuracy"]})
    study = made.add_study("one", {"objectives": ["accuracy", "loss"]})
    with made.driving("one") as seat, seat.writing(study) as writer:
        for number, state in enumerate(State):
            architecture = {"width": number}
            row = writer.add_trial(number, architecture, identity(architecture), f"key {number}", number)
            writer.event("asked", {"turn": number, "note": {}}, row)
            if state is State.WAITING:
                continue
            writer.start(row, 1, "w", "cpu")
            if number % 2:
                writer.lose(row, 1, "gone")
            writer.start(row, 2, "w", "cpu")
            writer.report(row, 1, {"val_accuracy": 0.5, "val_loss": float("nan")})
            if state.ended:
                values = {"accuracy": 0.5, "loss": float("nan")} if state is State.COMPLETED else None
                writer.end(row, 2, state, values=values)
                writer.event("told", {"turn": number}, row)
            else:
                writer.mark(row, state)
        done = list(State).index(State.COMPLETED)
        for number, kind in ((8, "search"), (9, "confirm")):
            architecture = {"width": number}
            row = writer.add_trial(
                number, architecture, identity(architecture), f"key {number}", 7, kind=kind, parent=done, forked_at=1
            )
            if kind == "search":
                writer.event("forked", {"source": done, "step": 1, "replaced": 5}, row)
                writer.event("told", {"turn": -9}, row)
            writer.start(row, 1, "w", "cpu")
            writer.end(row, 1, State.COMPLETED, values={"accuracy": 0.5, "loss": 0.5})
            path = made.folder("one") / f"{number:05}" / "w.bin"
            path.parent.mkdir(parents=True)
            path.write_bytes(b"weights")
            writer.artifact(row, "weights", f"{number:05}/w.bin", sha256(b"weights").hexdigest(), 7)
        writer.score("identity", "gradsign", None, 0.1, "why")
    yield made
    made.engine.dispose()


def wrong(checks: list[Check]) -> dict[str, list[str]]:
    return {each.name: each.problems for each in checks if each.wrong}


def test_a_sound_store_has_nothing_wrong_and_says_what_it_looked_at(store: Store) -> None:
    checks = check_store(store.address, files=True)
    assert wrong(checks) == {} and not any(each.problems for each in checks)
    looked = {each.name: each.looked for each in checks}
    assert looked.pop("file", None) == (None if store.shared else plain(store.address, "PRAGMA page_count")[0][0])
    assert looked == {"numbers": 10, "ends": 10, "values": 10, "events": 10, "architectures": 10, "files": 2}
    assert [each.looked for each in check_store(store.address, ["empty"])][-6:] == [0] * 6
    with pytest.raises(StoreError, match="no study 'none'"):
        check_store(store.address, ["none"])


OF = "(SELECT id FROM trial WHERE number = {})"
FAULTS: dict[str, tuple[str, str, str]] = {
    "a number is missing": (
        "UPDATE trial SET number = 17 WHERE number = 9",
        "numbers",
        "study one: its 10 trials have numbers from 0 to 17: some are missing",
    ),
    "a parent is missing": (
        "UPDATE trial SET parent = 77 WHERE number = 8",
        "numbers",
        "study one: trial 8 comes from trial 77, which is not there",
    ),
    "a driver is missing": (
        "UPDATE trial SET driver = 77 WHERE number = 2",
        "numbers",
        "study one: trial 2 was in the hands of driver 77, which is not there",
    ),
    "an end is missing": (
        "UPDATE trial SET ended = NULL WHERE number = 3",
        "ends",
        "study one: trial 3 is COMPLETED and has no time of its end",
    ),
    "an end too many": (
        "UPDATE trial SET ended = 1 WHERE number = 1",
        "ends",
        "study one: trial 1 is STALE and has a time of its end",
    ),
    "a state that is none": (
        "UPDATE trial SET state = 'DONE' WHERE number = 1",
        "ends",
        "study one: trial 1 is DONE, which is no state",
    ),
    "an attempt goes on": (
        f"UPDATE attempt SET ended = NULL WHERE number = 2 AND trial_id = {OF.format(4)}",
        "ends",
        "study one: trial 4 has ended, and its attempt 2 has not",
    ),
    "a value is missing": (
        f"DELETE FROM value WHERE name = 'loss' AND trial_id = {OF.format(3)}",
        "values",
        "study one: trial 3 is COMPLETED without a value of each of accuracy, loss",
    ),
    "a step before the first": (
        f"UPDATE metric SET step = -1 WHERE name = 'val_loss' AND trial_id = {OF.format(6)}",
        "values",
        "study one: trial 6: its metric val_loss is no number of a step",
    ),
    "told twice": (
        "INSERT INTO event (study_id, trial_id, kind, payload, at) SELECT study_id, trial_id, kind, payload, at "
        f"FROM event WHERE kind = 'told' AND trial_id = {OF.format(3)}",
        "events",
        "study one: trial 3 has ended, and in the order of events it begins 1 and ends 2 times",
    ),
    "told twice and never begun": (
        "UPDATE event SET kind = 'told' WHERE kind = 'asked' AND trial_id = " + OF.format(3),
        "events",
        "study one: trial 3 has ended, and in the order of events it begins 0 and ends 2 times",
    ),
    "never told": (
        f"DELETE FROM event WHERE kind = 'told' AND trial_id = {OF.format(8)}",
        "events",
        "study one: trial 8 has ended, and in the order of events it begins 1 and ends 0 times",
    ),
    "told too soon": (
        "INSERT INTO event (study_id, trial_id, kind, payload, at) SELECT study_id, trial_id, 'told', payload, at "
        f"FROM event WHERE kind = 'asked' AND trial_id = {OF.format(1)}",
        "events",
        "study one: trial 1 has not ended, and in the order of events it begins 1 and ends 1 times",
    ),
    "asked twice": (
        "INSERT INTO event (study_id, trial_id, kind, payload, at) SELECT study_id, trial_id, kind, payload, at "
        f"FROM event WHERE kind = 'asked' AND trial_id = {OF.format(2)}",
        "events",
        "study one: trial 2 has not ended, and in the order of events it begins 2 and ends 0 times",
    ),
    "another architecture": (
        """UPDATE trial SET architecture = '{"width": 99}' WHERE number = 5""",
        "architectures",
        "study one: trial 5: its architecture is not the one that its identity was made of",
    ),
    "no architecture": (
        """UPDATE trial SET architecture = '"' WHERE number = 5""",
        "architectures",
        "study one: trial 5: its architecture is no JSON",
    ),
    "a word for a metric": (
        f"UPDATE metric SET value = 'many' WHERE name = 'val_loss' AND trial_id = {OF.format(6)}",
        "values",
        "study one: trial 6: its metric val_loss is no number of a step",
    ),
    "a file is missing": (
        "UPDATE artifact SET path = '00008/none.bin' WHERE path = '00008/w.bin'",
        "files",
        "study one: trial 8: its weights, 00008/none.bin, is not there",
    ),
    "another size": (
        "UPDATE artifact SET size = 8 WHERE path = '00008/w.bin'",
        "files",
        "study one: trial 8: its weights, 00008/w.bin, has 7 bytes instead of 8",
    ),
    "a path that leads out": (
        "UPDATE artifact SET path = '../one/00008/w.bin' WHERE path = '00008/w.bin'",
        "files",
        "study one: trial 8: its weights, ../one/00008/w.bin, cannot be used: '../one/00008/w.bin' is no path inside a "
        "study's folder",
    ),
}
SQLITE_ALONE = {"no architecture", "a word for a metric"}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_named_and_nothing_else_is(store: Store, fault: str) -> None:
    statement, name, problem = FAULTS[fault]
    if store.shared and fault in SQLITE_ALONE:
        pytest.skip("PostgreSQL does not let it happen")
    plain(store.address, statement)
    assert wrong(check_store(store.address)) == {name: [problem]}
    assert wrong(check_store(store.address, ["empty"])) == {}


def test_a_file_of_other_content_is_found_only_where_files_are_read(store: Store) -> None:
    (store.folder("one") / "00009" / "w.bin").write_bytes(b"changed")
    assert wrong(check_store(store.address)) == {}
    [problem] = wrong(check_store(store.address, files=True))["files"]
    assert "study one: trial 9: its weights, 00009/w.bin, cannot be used:" in problem and "is damaged" in problem


def test_files_in_a_storage_are_looked_for_there(store: Store, tmp_path: Path) -> None:
    storage = tmp_path / "bucket"
    study = queries.study(store, "one")
    with store.writing(study.id) as writer:
        writer.settings(study.settings | {"storage": f"file://{storage}"})
    (storage / "one" / "00008").mkdir(parents=True)
    os.rename(store.folder("one") / "00008" / "w.bin", storage / "one" / "00008" / "w.bin")
    assert wrong(check_store(store.address)) == {}
    os.rename(storage / "one" / "00008" / "w.bin", storage / "one" / "00008" / "gone")
    assert wrong(check_store(store.address)) == {
        "files": ["study one: trial 8: its weights, 00008/w.bin, is not there"]
    }


def test_no_more_than_a_hundred_problems_are_listed_and_all_are_counted(tmp_path: Path) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        for number in range(120):
            writer.add_trial(number, {}, "not the identity", f"key {number}", 0)
    [check] = [each for each in check_store(store.url) if each.wrong]
    assert (check.name, check.looked, check.wrong, len(check.problems)) == ("architectures", 120, 120, 100)


def large(folder: Path) -> Path:
    store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        for number in range(200):
            architecture = {"width": "x" * 1000, "n": number}
            writer.add_trial(number, architecture, identity(architecture), f"key {number}", 0)
    store.engine.dispose()
    return folder / "nas.db"


def garble(path: Path) -> None:
    with open(path, "r+b") as handle:
        handle.seek(path.stat().st_size // 2 // 4096 * 4096)
        handle.write(os.urandom(4096))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def without_a_study(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM study")


def of_an_older_schema(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0002'")


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (garble, ""),
        (cut, "malformed"),
        (without_a_study, "of table trial belongs to a study that is not there"),
        (of_an_older_schema, "nas.db is of schema 0002, this nas has 0003: `nas store upgrade`, then check again"),
    ],
)
def test_a_file_that_is_not_sound_is_looked_at_as_a_file_alone_and_left_as_it_is(
    tmp_path: Path, harm: Callable[[Path], None], said: str
) -> None:
    path = large(tmp_path)
    harm(path)
    before = path.read_bytes()
    [check] = check_store(f"sqlite:///{path}")
    assert check.name == "file" and check.wrong >= 1 and any(said in each for each in check.problems)
    assert all("\n" not in each for each in check.problems)
    assert path.read_bytes() == before


def test_what_is_no_store_is_refused_as_everywhere(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("these are notes, not tables")
    for url, said in (
        (f"sqlite:///{tmp_path}/none.db", "there is no store at"),
        (f"sqlite:///{tmp_path}/notes.txt", "is not a database"),
        ("nas.db", "is not a database URL"),
    ):
        with pytest.raises(StoreError, match=said):
            check_store(url)
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]
