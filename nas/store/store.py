"""Opening a store, and reading from it and writing to it."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError

from nas.store.database import Database
from nas.store.errors import StoreAway as StoreAway
from nas.store.errors import StoreError as StoreError
from nas.store.errors import shown
from nas.store.models import Study
from nas.store.postgres import open_server
from nas.store.sql_writer import SqlWriter
from nas.store.sqlite import driven_by_lock, open_file

if TYPE_CHECKING:
    from nas.store.driving import Seat

DEFAULT = "sqlite:///nas.db"
LOOKS = 10
FILES = "files"


class Store:
    """A database of studies, and the folders in which their files lie.

    Those are in `nas_files`, beside a SQLite file, or on PostgreSQL in the folder where the study was begun; a study
    whose files lie elsewhere says so in its settings under "files".
    """

    def __init__(self, database: Database) -> None:
        self.engine = database.engine
        self._database = database
        self._folders: dict[str, Path] = {}

    @classmethod
    def open(cls, url: str = DEFAULT, *, create: bool = False, upgrade: bool = False) -> Store:
        """Open a store, made where it is absent and `create`.

        A SQLite file of an older schema is migrated, unless one of its studies is being run; a PostgreSQL database is
        only with `upgrade`. Raises StoreError when the URL is none, what it names is absent, damaged or not a store,
        and StoreAway when a server cannot be reached.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            raise StoreError(
                f"store {shown(url)!r} is not a database URL: write it as {DEFAULT} or postgresql://USER@HOST/DATABASE"
            ) from None
        kind = parsed.drivername.partition("+")[0]
        if kind == "sqlite":
            return cls(open_file(parsed, url, create=create))
        if kind == "postgresql":
            return cls(open_server(parsed, create=create, upgrade=upgrade))
        raise StoreError(
            f"store {shown(url)!r} is not supported: studies are kept in SQLite, {DEFAULT}, or in PostgreSQL, "
            "postgresql://USER@HOST/DATABASE"
        )

    @property
    def url(self) -> str:
        """The store's URL as it may be shown, without its password."""
        return shown(self._database.url)

    @property
    def address(self) -> str:
        """The URL that opens the store again; it may hold a password."""
        return self._database.url

    @property
    def path(self) -> Path | None:
        """The file that it is, None on a server."""
        return self._database.path

    @property
    def place(self) -> str:
        """Where the store is, as it may be shown: a file, or a URL without its password."""
        return self.url if self.path is None else str(self.path)

    @property
    def found(self) -> str | None:
        """The revision of its schema before it was opened, None where it was made."""
        return self._database.found

    @property
    def shared(self) -> bool:
        """Whether several drivers may search one study at a time."""
        return self.engine.dialect.name != "sqlite"

    @property
    def is_default(self) -> bool:
        """Whether it is the store that commands open when none is named."""
        return self.path == Path(make_url(DEFAULT).database or "").absolute()

    @property
    def files(self) -> Path:
        """The folder in which a new study gets its own for its files."""
        return self._database.files

    def placed(self, study: str, settings: dict[str, Any]) -> dict[str, Any]:
        """Return the settings of a new study with the place of its files, where the store needs to be told."""
        return {FILES: str(self.files / study)} | settings if self.path is None else settings

    def folder(self, study: str) -> Path:
        """Return the folder of a study's files, of one that is kept in a storage elsewhere the folder for copies."""
        if study not in self._folders:
            files = self._files(study)
            if files is None:
                return self.files / study
            self._folders[study] = self.files / study if "://" in files else Path(files)
        return self._folders[study]

    def _files(self, study: str) -> str | None:
        """Return what the settings of a study say of its files."""
        with self.reading() as connection:
            settings = connection.execute(sa.select(Study.settings).where(Study.name == study)).scalar()
        return settings.get(FILES) if settings else None

    def add_study(self, name: str, settings: dict[str, Any]) -> int:
        """Add a study and return its id; raises StoreError when the name is taken."""
        row = {"name": name, "settings": self.placed(name, settings), "created": time.time()}
        try:
            with self.begun() as connection:
                key = connection.execute(sa.insert(Study), row).inserted_primary_key
        except IntegrityError:
            raise StoreError(f"study {name!r} exists already: choose another --study, or `nas resume {name}`") from None
        assert key is not None
        return int(key[0])

    @contextmanager
    def writing(self, study: int) -> Iterator[SqlWriter]:
        """Write to a study in one transaction; raises StoreAway when the store cannot be written to for now."""
        with self.begun() as connection:
            writer = SqlWriter(connection, study)
            yield writer
            writer.flush()

    @contextmanager
    def begun(self) -> Iterator[Connection]:
        """Be in a transaction, which is kept whole or not at all; raises StoreAway and StoreError."""
        with self._explained(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Read from the store; raises StoreAway and StoreError."""
        with self._explained(), self.engine.connect() as connection:
            yield connection

    def ready(self) -> str | None:
        """Say why the store cannot be written to at this moment, None where it can."""
        return self._database.ready()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            if isinstance(error, IntegrityError) or (known := self._database.explain(error)) is None:
                raise
            raise known from error

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
        return driven_by_lock(self.folder(study))


def _locked(handle: IO[str]) -> bool:
    """Try to take a study's lock, which `driven` of another process may hold for a moment."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(0.02)
        return False
    return True
