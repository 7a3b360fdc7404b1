"""The store in a SQLite file: its settings, its locks, and files that are not sound or have no room."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st
from postgres import plain

from nas.store import State, Store, StoreAway, StoreDamaged, StoreError, Writer, queries
from nas.store.errors import shown
from nas.store.sqlite import EXAMINED


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)


def add(writer: Writer, number: int, size: int = 1) -> int:
    return writer.add_trial(number, {"width": "x" * size}, f"identity {number}", f"key {number}", seed=number)


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


def test_many_readers_beside_a_writer_see_whole_transactions_and_never_wait(store: Store) -> None:
    study = store.add_study("one", {})
    over, seen, wrong = threading.Event(), [0] * 6, []

    def read(reader: int) -> None:
        mine = Store.open(store.url)
        try:
            while not over.is_set():
                with mine.engine.connect() as connection:
                    ask = "SELECT (SELECT count(*) FROM trial), (SELECT count(*) FROM event)"
                    trials, events = connection.exec_driver_sql(ask).one()
                if trials != events:
                    wrong.append((trials, events))
                seen[reader] += 1
        except Exception as error:
            wrong.append(error)
        finally:
            mine.engine.dispose()

    threads = [threading.Thread(target=read, args=(reader,)) for reader in range(6)]
    for thread in threads:
        thread.start()
    try:
        for number in range(300):
            with store.writing(study) as writer:
                writer.event("asked", {"turn": number}, add(writer, number))
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert wrong == [] and min(seen) > 0 and queries.count(store, study) == 300


READ = """
import sys
from nas.store import Store, queries
store = Store.open(sys.argv[1])
print(*(row.name for row in queries.studies(store)))
store.engine.dispose()
"""

WRITE = """
import os, subprocess, sys
from nas.store import Store
store = Store.open(sys.argv[1], create=True)
store.add_study("one", {})
Store.open(sys.argv[1])
store.add_study("two", {})
for name in ("three", "four"):
    subprocess.run([sys.executable, "-c", sys.argv[2], sys.argv[1]])
    store.add_study(name, {})
os.kill(os.getpid(), 9)
"""


@pytest.mark.slow
def test_a_store_that_is_opened_twice_in_a_process_keeps_its_log_when_others_close_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nas.db"
    killed = subprocess.run([sys.executable, "-c", WRITE, url, READ], capture_output=True, text=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert killed.stdout.splitlines() == ["one two", "one two three"]
    assert [name for (name,) in plain(url, "SELECT name FROM study ORDER BY id")] == ["one", "two", "three", "four"]


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


def not_a_database(folder: Path) -> str:
    (folder / "notes.txt").write_text("these are notes, not tables")
    return f"sqlite:///{folder}/notes.txt"


def one_word(folder: Path) -> str:
    (folder / "notes.txt").write_text("notes")
    return f"sqlite:///{folder}/notes.txt"


def made(folder: Path, trials: int = 0, size: int = 1) -> Path:
    """Make a sound store of one study whose log is empty."""
    store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        for number in range(trials):
            add(writer, number, size)
    store.engine.dispose()
    return folder / "nas.db"


def cut_in_the_first_page(folder: Path) -> str:
    path = made(folder)
    path.write_bytes(path.read_bytes()[:100] + b"\xff" * 5000)
    return f"sqlite:///{path}"


def cut_in_the_middle(folder: Path) -> str:
    path = made(folder, 100, 1000)
    os.truncate(path, path.stat().st_size // 2)
    return f"sqlite:///{path}"


def garble(path: Path) -> None:
    """Spoil the page that a trial's architecture lies in."""
    with open(path, "r+b") as handle:
        handle.seek(path.read_bytes().index(b"x" * 900) // 4096 * 4096)
        handle.write(os.urandom(4096))


def with_a_garbled_page(folder: Path) -> str:
    path = made(folder, 100, 1000)
    garble(path)
    return f"sqlite:///{path}"


def another_programs(folder: Path) -> str:
    plain(f"sqlite:///{folder}/other.db", "CREATE TABLE users (name TEXT)")
    return f"sqlite:///{folder}/other.db"


def another_programs_with_alembic(folder: Path) -> str:
    url = f"sqlite:///{folder}/optuna.db"
    for statement in (
        "CREATE TABLE alembic_version (version_num TEXT)",
        "CREATE TABLE studies (name TEXT)",
        "INSERT INTO alembic_version VALUES ('v3.2.0.a')",
    ):
        plain(url, statement)
    return url


def of_a_newer_nas(folder: Path) -> str:
    url = f"sqlite:///{made(folder)}"
    plain(url, "UPDATE alembic_version SET version_num = '9999'")
    return url


BAD: dict[str, tuple[Callable[[Path], str], str]] = {
    "no URL": (lambda folder: f"{folder}/nas.db", r"is not a database URL: write it as sqlite:///nas\.db or postgres"),
    "nonsense": (lambda folder: "sqlite://a:b:c/d", "is not a database URL"),
    "mysql": (lambda folder: "mysql://me@host/nas", "is not supported: .* SQLite, .* or in PostgreSQL"),
    "two slashes": (lambda folder: "sqlite://nas.db", r"names no file: write it as sqlite:///nas\.db"),
    "a host": (lambda folder: f"sqlite://host{folder}/nas.db", "names no file"),
    "memory": (lambda folder: "sqlite:///:memory:", "names no file"),
    "a folder": (lambda folder: f"sqlite:///{folder}", "is a folder; name a file"),
    "not a database": (not_a_database, r"notes\.txt is not a database; give another file"),
    "not a database, and short": (one_word, r"notes\.txt is not a database; give another file"),
    "another program's": (another_programs, "is another program's database: give another one"),
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


@pytest.mark.parametrize("make", [cut_in_the_first_page, cut_in_the_middle, with_a_garbled_page])
def test_a_damaged_file_is_refused_with_the_remedy_and_never_written_to(
    tmp_path: Path, make: Callable[[Path], str]
) -> None:
    url = make(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(StoreDamaged, match=r"is damaged \(.*\): `nas store check` says more; put a copy") as it:
        Store.open(url, create=True)
    assert "\n" not in str(it.value) and repr(url) in str(it.value)
    assert contents(tmp_path) == before


def test_a_damaged_file_of_an_older_schema_is_not_migrated_whatever_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nas.store.sqlite.EXAMINED", 0)
    url = with_a_garbled_page(tmp_path)
    plain(url, "UPDATE alembic_version SET version_num = '0002'")
    before = contents(tmp_path)
    with pytest.raises(StoreDamaged):
        Store.open(url)
    assert contents(tmp_path) == before


def test_a_damaged_page_of_a_large_file_is_said_when_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = made(tmp_path, 200, 1000)
    garble(path)
    assert path.stat().st_size < EXAMINED
    monkeypatch.setattr("nas.store.sqlite.EXAMINED", 0)
    store = Store.open(f"sqlite:///{path}")
    with pytest.raises(StoreDamaged, match=r"is damaged .*malformed.*put a copy of it back"):
        queries.trials(store, 1)
    with pytest.raises(StoreDamaged), store.writing(1) as writer:
        add(writer, 200)
        writer._connection.execute(sa.text("UPDATE trial SET state = 'FAILED'"))
    assert plain(store.address, "SELECT max(number) FROM trial WHERE number >= 200") == [(None,)]


def test_an_empty_file_is_no_store_unless_one_is_to_be_made(tmp_path: Path) -> None:
    (tmp_path / "nas.db").touch()
    with pytest.raises(StoreError, match=r"there is no store at .*nas\.db, which is empty: start one"):
        Store.open(f"sqlite:///{tmp_path}/nas.db")
    assert contents(tmp_path) == {f"{tmp_path}/nas.db": hashlib.sha256().hexdigest()}
    assert queries.studies(Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)) == []


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
            assert repr(shown(url)) in str(error) or "there is no store at" in str(error)


def test_a_file_that_another_program_holds_is_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nas.store.sqlite.WAIT", 0.1)
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    study = store.add_study("one", {})
    other = sqlite3.connect(tmp_path / "nas.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreAway, match=r"cannot be written to .database is locked.: see that no other program"):
        with store.writing(study) as writer:
            add(writer, 0)
    with pytest.raises(StoreAway, match="cannot be written to"):
        store.add_study("two", {})
    assert store.ready() == "database is locked"
    other.execute("ROLLBACK")
    assert store.ready() is None
    with store.writing(study) as writer:
        add(writer, 0)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    options = ["-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    if mount is None or (done := subprocess.run([mount, *options], capture_output=True, text=True)).returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip() if mount else 'no mount'}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.mark.parametrize("filled", ["by others", "by ourselves"])
def test_a_full_disk_keeps_what_was_there_and_takes_the_same_write_when_there_is_room(
    small_disk: Path, filled: str
) -> None:
    store = Store.open(f"sqlite:///{small_disk}/nas.db", create=True)
    study = store.add_study("one", {})
    with store.writing(study) as writer:
        add(writer, 0)
    assert store.ready() is None
    ballast = small_disk / "ballast"
    size = shutil.disk_usage(small_disk).free - (0 if filled == "by others" else 1024 * 1024)
    ballast.write_bytes(b"\0" * size)

    def write() -> None:
        with store.writing(study) as writer:
            for number in range(1, 21):
                trial = add(writer, number, 100_000)
                writer.start(trial, 1, "w", "cpu")
                writer.end(trial, 1, State.COMPLETED, values={"accuracy": 0.5})

    for _ in range(2):
        with pytest.raises(StoreAway, match=r"cannot be written to \(.*\): make room on the disk of .*/disk"):
            write()
        assert [row.number for row in queries.trials(store, study)] == [0]
    assert store.ready() is not None
    ballast.unlink()
    assert store.ready() is None
    write()
    store.engine.dispose()
    url = f"sqlite:///{small_disk}/nas.db"
    assert plain(url, "SELECT count(*) FROM trial") == [(21,)] and plain(url, "PRAGMA integrity_check") == [("ok",)]
    assert plain(url, "SELECT count(*) FROM value") == plain(url, "SELECT count(*) FROM attempt") == [(20,)]


def test_a_store_of_an_older_schema_is_not_changed_under_a_running_search(tmp_path: Path) -> None:
    path = made(tmp_path)
    url = f"sqlite:///{path}"
    store = Store.open(url)
    with store.driving("one"):
        plain(url, "UPDATE alembic_version SET version_num = '0002'")
        with pytest.raises(StoreError, match="made by an older nas, which is running study 'one': wait for it or stop"):
            Store.open(url)
        assert plain(url, "SELECT version_num FROM alembic_version") == [("0002",)]
        plain(url, "UPDATE alembic_version SET version_num = '0003'")
