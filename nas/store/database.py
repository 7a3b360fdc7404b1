"""What a store needs of the kind of database that it lies in."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import DBAPIError

from nas.store.errors import StoreError, shown

REVISION = "0003"
TABLES = {"study", "trial", "event", "alembic_version"}
UPGRADE = "`nas store upgrade --store URL`"


class Database(Protocol):
    """A database with the newest schema in it. `url` opens it again and may hold a password.

    `found` is the revision of its schema before it was opened, None where it was empty.
    """

    engine: Engine
    url: str
    found: str | None

    @property
    def path(self) -> Path | None:
        """The file that it is, None for a server."""

    @property
    def files(self) -> Path:
        """The folder in which a new study gets a folder for its files."""

    def explain(self, error: DBAPIError) -> StoreError | None:
        """Say in a line what an error means to the user; None where it is no fault of the store's."""

    def ready(self) -> str | None:
        """Say why the store cannot be written to at this moment, None where it can."""


def revision(connection: Connection, url: str, names: set[str]) -> str | None:
    """Return the revision of a store by the names of its tables, None for an empty database.

    Raises StoreError for another program's database.
    """
    if not names:
        return None
    if not names >= TABLES:
        raise StoreError(f"store {shown(url)!r} is another program's database: give another one with --store")
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def touch(connection: Connection) -> None:
    """Write something that changes nothing, to see that it can be written."""
    connection.execute(sa.text("UPDATE alembic_version SET version_num = version_num"))
