"""A store in a SQLite file, in WAL mode with `synchronous=NORMAL`.

A commit survives the death of the process at any moment, and readers never wait for the writer.

What is looked at when a file is opened: that it is a database and ours, that it is as long as its own count of pages
says (SQLite itself does this), and in a file of up to 32 MiB, or before its schema is changed, the structure of every
page. In a larger file a damaged page is met when it is read, or by `nas store check`. Nothing is ever written to a
file that was found to be damaged.

A file is only ever opened through SQLite: to close any other handle on it would drop SQLite's own locks in this
process, and another process would then delete the log to which this one still writes.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError

from nas.store import encoding
from nas.store.database import REVISION, revision
from nas.store.errors import StoreAway, StoreDamaged, StoreError, line

# A checkpoint waits for the disk: at SQLite's own 1,000 pages that is a fifth of a small trial's cost.
CHECKPOINT_PAGES = 4000
WAIT = 60.0
EXAMINED = 32 * 2**20
ROOM = 2**20
UNSOUND = ("SQLITE_CORRUPT", "SQLITE_NOTADB")
BUSY = ("SQLITE_BUSY", "SQLITE_LOCKED")
WRITING = ("SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_IOERR_DIR_FSYNC", "SQLITE_IOERR_SHMSIZE")
ANOTHER = "give another file with --store"


class SqliteFile:
    """A file with the newest schema in it; a `Database`."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path
        self.url = f"sqlite:///{path}"
        self.found: str | None = None

    @property
    def files(self) -> Path:
        return self.path.parent / "nas_files"

    def explain(self, error: DBAPIError) -> StoreError | None:
        return explained(error, self.path)

    def ready(self) -> str | None:
        try:
            free = shutil.disk_usage(self.path.parent).free
            if free < ROOM:
                return f"the disk of {self.path.parent} has {free // 1024} KiB free, and {ROOM // 1024} are needed"
            address = f"{self.path.as_uri()}?mode=rw"
            with closing(sqlite3.connect(address, uri=True, timeout=1.0, isolation_level=None)) as connection:
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("UPDATE alembic_version SET version_num = version_num")
                connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            return line(error)
        return None


def open_file(url: URL, text: str, *, create: bool) -> SqliteFile:
    """Open a file, made and migrated to the newest schema where needed.

    Raises StoreError: for a file of an older schema while another process runs one of its studies, too.
    """
    path = file_of(url, text)
    try:
        _check_place(path, text, create)
    except (OSError, ValueError) as error:
        raise StoreError(f"store {text!r} cannot be opened: {error}; {ANOTHER}") from None
    file = SqliteFile(make_engine(path), path)
    try:
        file.found = _migrate(file.engine, text, path, create)
    except DBAPIError as error:
        file.engine.dispose()
        raise _unusable(error, text, path) from None
    except StoreError:
        file.engine.dispose()
        raise
    return file


def file_of(url: URL, text: str) -> Path:
    """Return the file that a URL names; raises StoreError where it names none."""
    if not url.database or url.database == ":memory:" or url.host:
        raise StoreError(f"store {text!r} names no file: write it as sqlite:///nas.db")
    return Path(url.database).absolute()


def make_engine(path: Path) -> Engine:
    """Make the connections to a file, whatever is in it."""
    engine = sa.create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": WAIT},
        json_serializer=encoding.dumps,
        json_deserializer=encoding.loads,
    )
    sa.event.listen(engine, "connect", _prepare)
    return engine


def explained(error: DBAPIError, path: Path) -> StoreError | None:
    """Say in a line what an error of SQLite means to the user; None where the file is not to blame."""
    name = getattr(error.orig, "sqlite_errorname", "")
    said = line(error.orig)
    if name.startswith(UNSOUND):
        return damaged(path, said)
    if not isinstance(error, OperationalError):
        return None
    store = f"store {f'sqlite:///{path}'!r}"
    if name.startswith("SQLITE_FULL") or _full(path):
        return StoreAway(f"{store} cannot be written to ({said}): make room on the disk of {path.parent}")
    if name.startswith(BUSY):
        return StoreAway(f"{store} cannot be written to ({said}): see that no other program holds it")
    if name in WRITING:
        return StoreAway(f"{store} cannot be written to ({said}): see that its disk works and that its quota has room")
    return StoreError(f"{store} cannot be used ({said}): see that you may write to {path} and that its disk works")


def damaged(path: Path, what: str) -> StoreDamaged:
    """Say that a file is not sound, and what can be done."""
    return StoreDamaged(
        f"store {f'sqlite:///{path}'!r} is damaged ({what}): `nas store check` says more; put a copy of it back, or "
        "save what can be read as https://sqlite.org/recovery.html tells"
    )


def driven_by_lock(folder: Path) -> bool:
    """Say whether another process holds a study's folder as its driver."""
    lock = folder / "driver.lock"
    if not lock.exists():
        return False
    with open(lock) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _unusable(error: DBAPIError, text: str, path: Path) -> StoreError:
    name = getattr(error.orig, "sqlite_errorname", "")
    if name.startswith("SQLITE_NOTADB"):
        return StoreError(f"store {text!r} cannot be opened: {path} is not a database; {ANOTHER}")
    known = explained(error, path)
    if isinstance(known, StoreAway | StoreDamaged):
        return known
    return StoreError(f"store {text!r} cannot be used: {line(error.orig)}; {ANOTHER}")


def _check_place(path: Path, text: str, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"store {text!r} cannot be opened: {path} is a folder; name a file, as sqlite:///nas.db")
    if path.exists():
        return
    if not create:
        raise StoreError(f"there is no store at {path}: start one with `nas search`, or name one with --store")
    if not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise StoreError(
            f"store {text!r} cannot be made: {path.parent} is not a folder that can be written to; make it first"
        )


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")


def _migrate(engine: Engine, url: str, path: Path, create: bool) -> str | None:
    """Bring a database to WAL mode and the newest schema, having made sure that it is sound, and ours or empty.

    Returns the revision that it had. Check and migration are one transaction, so that of several processes that open
    a new store one makes it.
    """
    with engine.connect() as connection:
        found = _revision(connection, url)
        if found is None and not create:
            raise StoreError(f"there is no store at {path}, which is empty: start one with `nas search`")
        if found is not None and (found != REVISION or path.stat().st_size <= EXAMINED):
            _examine(connection, path)
        if found == REVISION and _mode(connection) == "wal":
            return found
        _switch_to_wal(connection)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        found = _revision(connection, url)
        if found != REVISION:
            from nas.store.migrations import upgrade

            _refuse_while_driven(connection, url, path)
            upgrade(connection, url)
        connection.commit()
        return found


def _revision(connection: Connection, url: str) -> str | None:
    names = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars()
    return revision(connection, url, set(names))


def _examine(connection: Connection, path: Path) -> None:
    said = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar()
    if said != "ok":
        raise damaged(path, line(said))


def _refuse_while_driven(connection: Connection, url: str, path: Path) -> None:
    """Refuse to change the schema under a running search: it was begun by a nas that knows the old one."""
    if "study" not in connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars():
        return
    for name in connection.exec_driver_sql("SELECT name FROM study").scalars():
        if driven_by_lock(path.parent / "nas_files" / str(name)):
            raise StoreError(
                f"store {url!r} was made by an older nas, which is running study {name!r}: wait for it or stop it, "
                "and then use the store, or give `nas store upgrade`"
            )


def _mode(connection: Connection) -> str:
    return str(connection.exec_driver_sql("PRAGMA journal_mode").scalar())


def _switch_to_wal(connection: Connection) -> None:
    """Switch on write-ahead logging; SQLite does not wait by itself while another process opens the file too."""
    deadline = time.monotonic() + WAIT
    while _mode(connection) != "wal":
        try:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _full(path: Path) -> bool:
    try:
        return shutil.disk_usage(path.parent).free < 16 * 1024
    except OSError:
        return False
