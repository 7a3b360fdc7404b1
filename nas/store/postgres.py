"""A store in a PostgreSQL database, by psycopg.

The schema is made under an advisory lock, so that of several processes that open an empty database one makes it. An
older schema is not changed unless that is asked for: other machines may run an older nas on the same store.
"""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine
from sqlalchemy.exc import DataError, DBAPIError, DisconnectionError, InterfaceError, InternalError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from nas.store import encoding
from nas.store.database import REVISION, UPGRADE, revision, touch
from nas.store.errors import StoreAway, StoreError, line, shown

DRIVER = "postgresql+psycopg"
LOCK = int.from_bytes(b"nas", "big")
# A cut link is noticed after half a minute rather than after the two hours that TCP takes by itself.
CONNECTION: dict[str, Any] = {
    "connect_timeout": 10,
    "application_name": "nas",
    "client_encoding": "utf8",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
ENCODINGS = ("UTF8", "SQL_ASCII")
RESTED = 0.2
READ_ONLY, FORBIDDEN = "25006", "42501"


class PostgresServer:
    """A database of a server with the newest schema in it; a `Database`."""

    path: Path | None = None

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self.url = url
        self.found: str | None = None

    @property
    def files(self) -> Path:
        return Path.cwd() / "nas_files"

    def explain(self, error: DBAPIError) -> StoreError | None:
        """Whatever is operational may pass: a server that starts, stops, fails over, or has no room."""
        store, said = f"store {shown(self.url)!r}", _said(error)
        passing = isinstance(error, OperationalError | InterfaceError) or _state(error) == READ_ONLY
        if error.connection_invalidated or passing:
            return StoreAway(f"{store} is away ({said}): see that its server runs, can be reached and has room")
        if isinstance(error, DataError | InternalError) or _state(error) == FORBIDDEN:
            return StoreError(f"{store} cannot be used ({said}): see that you may write to it")
        return None

    def ready(self) -> str | None:
        try:
            with self.engine.begin() as connection:
                touch(connection)
        except DBAPIError as error:
            return _said(error)
        return None


def open_server(url: URL, *, create: bool, upgrade: bool) -> PostgresServer:
    """Open a database, made where it is empty and `create`, and migrated with `upgrade`.

    Raises StoreAway where the server cannot be reached, and StoreError.
    """
    text = url.render_as_string(hide_password=False)
    server = PostgresServer(_make_engine(url, text), text)
    try:
        server.found = _migrate(server.engine, text, create=create, upgrade=upgrade)
    except DBAPIError as error:
        server.engine.dispose()
        raise _refused(error, url, text) or server.explain(error) or error from None
    except StoreError:
        server.engine.dispose()
        raise
    return server


def _make_engine(url: URL, text: str) -> Engine:
    if not url.database:
        raise StoreError(f"store {shown(text)!r} names no database: write it as postgresql://USER@HOST/DATABASE")
    if url.drivername not in ("postgresql", DRIVER):
        raise StoreError(f"store {shown(text)!r} names a driver that is not supported: write postgresql://...")
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise StoreError(f"store {shown(text)!r} needs psycopg: pip install 'nas[postgres]'") from None
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # what it warns of is an error here, and said in a line
    engine = sa.create_engine(
        url.set(drivername=DRIVER),
        connect_args={name: value for name, value in CONNECTION.items() if name not in url.query},
        json_serializer=encoding.dumps,
        json_deserializer=encoding.loads,
    )
    sa.event.listen(engine, "connect", _rest)
    sa.event.listen(engine, "checkin", _rest)
    sa.event.listen(engine, "checkout", _look)
    return engine


def _rest(connection: object, record: ConnectionPoolEntry) -> None:
    record.info["since"] = time.monotonic()


def _look(connection: Any, record: ConnectionPoolEntry, _proxy: object) -> None:
    """See that a connection that has rested for a while still leads to the server; if not, another one is made."""
    if time.monotonic() - record.info["since"] < RESTED:
        return
    try:
        connection.execute("SELECT 1")
        connection.rollback()
    except Exception as error:
        raise DisconnectionError(str(error)) from error


def _migrate(engine: Engine, url: str, *, create: bool, upgrade: bool) -> str | None:
    """Bring a database to the newest schema and return the revision that it had."""
    from nas.store import migrations

    with engine.begin() as connection:
        found = _revision(connection, url)
        if found == REVISION:
            return found
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        found = _revision(connection, url)
        if found == REVISION:
            return found
        if found is None and not create:
            raise StoreError(f"there is no store in {shown(url)!r}, which is empty: start one with `nas search`")
        if found is not None and not upgrade:
            migrations.require_older(found, url)
            raise StoreError(
                f"store {shown(url)!r} was made by an older nas (revision {found}): end what runs on it, then {UPGRADE}"
            )
        _check_encoding(connection, url)
        if found is not None:
            _refuse_while_driven(connection, url)
        migrations.upgrade(connection, url)
        return found


def _revision(connection: Connection, url: str) -> str | None:
    names = connection.execute(sa.text("SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"))
    return revision(connection, url, set(names.scalars()))


def _check_encoding(connection: Connection, url: str) -> None:
    encoded = connection.execute(sa.text("SHOW server_encoding")).scalar()
    if encoded not in ENCODINGS:
        raise StoreError(
            f"store {shown(url)!r} is encoded in {encoded}, which does not hold every text: make its database with "
            "`createdb --encoding UTF8 --template template0`"
        )


def _refuse_while_driven(connection: Connection, url: str) -> None:
    living = "SELECT name FROM driver WHERE ended IS NULL AND lease > extract(epoch FROM clock_timestamp())"
    names = list(connection.execute(sa.text(living)).scalars())
    if names:
        raise StoreError(
            f"store {shown(url)!r} is in use by {', '.join(map(str, names))}: end that first, then {UPGRADE}"
        )


def _refused(error: DBAPIError, url: URL, text: str) -> StoreError | None:
    """Say what is to be done where a server answers, but lets nobody in."""
    said = _said(error)
    store = f"store {shown(text)!r}"
    name = url.database
    if f'database "{name}" does not exist' in said:
        return StoreError(f"{store} cannot be opened: there is no database {name!r}; make it with `createdb {name}`")
    if "password" in said or "pg_hba.conf" in said or 'role "' in said:
        return StoreError(
            f"{store} cannot be opened ({said}): see that the user is right, and give the password in the URL, in "
            "PGPASSWORD or in ~/.pgpass"
        )
    if _state(error) == FORBIDDEN:
        return StoreError(
            f"{store} cannot be made ({said}): let its user make tables there, as with "
            f"`createdb --owner {url.username or 'USER'} {name}`"
        )
    return None


def _said(error: DBAPIError) -> str:
    """Return what the server or its library said, without the guesses that the library adds."""
    return line(error.orig).partition(" Is the server running")[0]


def _state(error: DBAPIError) -> str | None:
    return getattr(error.orig, "sqlstate", None)
