"""Opening a store, and writing to it.

SQLite in WAL mode with `synchronous=NORMAL`: a commit survives the death of the process at any moment, and
readers never wait for the writer. One driver writes to a study at a time; the operating system frees its
lock when it dies.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError

from nas.errors import UserError
from nas.store.models import Study
from nas.store.sql_writer import SqlWriter

if TYPE_CHECKING:
    from nas.store.driving import Seat

REVISION = "0003"
DEFAULT = "sqlite:///nas.db"
# A checkpoint waits for the disk: at SQLite's own 1,000 pages that is a fifth of a small trial's cost.
CHECKPOINT_PAGES = 4000
WAIT = 60.0
LOOKS = 10
OURS = {"study", "trial", "event", "alembic_version"}


class StoreError(UserError):
    """A store that cannot be opened or does not hold what is asked; one line that names the remedy."""


class Store:
    """A database of studies, with the folder in which their files lie (`nas_files` beside the database)."""

    def __init__(self, engine: Engine, path: Path) -> None:
        self.engine = engine
        self.path = path

    @classmethod
    def open(cls, url: str = DEFAULT, *, create: bool = False) -> Store:
        """Open a store, made and migrated to the newest schema where needed.

        Raises StoreError when the URL is none, the file is absent (unless `create`) or not a store.
        """
        path = _sqlite_path(url)
        try:
            _check_file(path, url, create)
        except (OSError, ValueError) as error:
            raise StoreError(f"store {url!r} cannot be opened: {error}; give another file with --store") from None
        engine = sa.create_engine(URL.create("sqlite", database=str(path)), connect_args={"timeout": WAIT})
        sa.event.listen(engine, "connect", _prepare)
        try:
            _migrate(engine, url)
        except DatabaseError as error:
            engine.dispose()
            raise StoreError(f"store {url!r} cannot be used: {error.orig}; give another file with --store") from None
        except StoreError:
            engine.dispose()
            raise
        return cls(engine, path)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.path}"

    @property
    def shared(self) -> bool:
        """Whether several drivers may search one study at a time."""
        return self.engine.dialect.name != "sqlite"

    @property
    def is_default(self) -> bool:
        """Whether it is the store that commands open when none is named."""
        return self.path == _sqlite_path(DEFAULT)

    def folder(self, study: str) -> Path:
        """Return the folder of a study's files."""
        return self.path.parent / "nas_files" / study

    def add_study(self, name: str, settings: dict[str, Any]) -> int:
        """Add a study and return its id; raises StoreError when the name is taken."""
        row = {"name": name, "settings": settings, "created": time.time()}
        try:
            with self.begun() as connection:
                key = connection.execute(sa.insert(Study), row).inserted_primary_key
        except IntegrityError:
            raise StoreError(f"study {name!r} exists already: choose another --study, or `nas resume {name}`") from None
        assert key is not None
        return int(key[0])

    @contextmanager
    def writing(self, study: int) -> Iterator[SqlWriter]:
        """Write to a study in one transaction; raises StoreError when the file cannot be written to."""
        with self.begun() as connection:
            yield SqlWriter(connection, study)

    @contextmanager
    def begun(self) -> Iterator[Connection]:
        try:
            with self.engine.begin() as connection:
                yield connection
        except OperationalError as error:
            raise StoreError(
                f"store {self.url!r} cannot be written to ({error.orig}): see that no other program holds it, "
                "that you may write to it and that its disk has room"
            ) from error

    @contextmanager
    def driving(self, study: str, plan: str = "search") -> Iterator[Seat]:
        """Drive the study; raises StoreError while another process does, unless both search and the store is shared."""
        from nas.store.driving import seated

        if self.shared:
            with seated(self, study, plan, locked=False) as seat:
                yield seat
            return
        folder = self.folder(study)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / "driver.lock", "a") as handle:
            if not any(_locked(handle) for _ in range(LOOKS)):
                raise StoreError(f"study {study!r} is being run by another process: wait for it, or stop it")
            with seated(self, study, plan, locked=True) as seat:
                yield seat

    def driven(self, study: str) -> bool:
        """Say whether a process is running the study at this moment."""
        if self.shared:
            from nas.store.driving import living

            return living(self, study) > 0
        lock = self.folder(study) / "driver.lock"
        if not lock.exists():
            return False
        with open(lock) as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
        return False


def _locked(handle: IO[str]) -> bool:
    """Try to take a study's lock, which `driven` of another process may hold for a moment."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.02)
        return False
    return True


def _sqlite_path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise StoreError(f"store {url!r} is not a database URL: write it as sqlite:///nas.db") from None
    if parsed.get_backend_name() != "sqlite":
        raise StoreError(f"store {url!r} is not supported: this version keeps studies in SQLite, sqlite:///FILE")
    if not parsed.database or parsed.database == ":memory:" or parsed.host:
        raise StoreError(f"store {url!r} names no file: write it as sqlite:///nas.db")
    return Path(parsed.database).absolute()


def _check_file(path: Path, url: str, create: bool) -> None:
    if path.is_dir():
        raise StoreError(f"store {url!r} cannot be opened: {path} is a folder; name a file, as sqlite:///nas.db")
    if path.exists():
        with open(path, "rb") as handle:
            head = handle.read(16)
        if head and head != b"SQLite format 3\0":
            raise StoreError(
                f"store {url!r} cannot be opened: {path} is not a database; give another file with --store"
            )
    elif not create:
        raise StoreError(f"there is no store at {path}: start one with `nas search`, or name one with --store")
    elif not (path.parent.is_dir() and os.access(path.parent, os.W_OK)):
        raise StoreError(
            f"store {url!r} cannot be made: {path.parent} is not a folder that can be written to; make it first"
        )


def _prepare(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
    connection.execute("PRAGMA foreign_keys=ON")


def _migrate(engine: Engine, url: str) -> None:
    """Bring a database to WAL mode and the newest schema, having made sure that it is ours or empty.

    Check and migration are one transaction, so that of several processes that open a new store one makes it.
    """
    with engine.connect() as connection:
        if _revision(connection, url) == REVISION and _mode(connection) == "wal":
            return
        _switch_to_wal(connection)
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        if _revision(connection, url) != REVISION:
            from nas.store.migrations import upgrade

            upgrade(connection, url)
        connection.commit()


def _revision(connection: Connection, url: str) -> str | None:
    """Return the revision of a store, None for an empty file; raises StoreError for another program's database."""
    tables = set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'table'").scalars())
    if not tables:
        return None
    if not tables >= OURS:
        raise StoreError(f"store {url!r} is another program's database: give another file with --store")
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()


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
