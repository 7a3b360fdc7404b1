"""Statements that a run executes with every trial, as directly as may be.

SQLAlchemy writes their text once; the driver of the database executes them. On a server a batch is one journey there
and back, whatever is in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Dialect
from sqlalchemy.exc import DBAPIError

Row = Mapping[str, Any]


class Prepared:
    """A statement in a database's own words, for rows that give it values by these names."""

    def __init__(self, statement: sa.ClauseElement, dialect: Dialect, names: Sequence[str]) -> None:
        compiled: Any = statement.compile(dialect=dialect, column_keys=list(names))
        self.text = str(compiled)
        self._names: list[str] = list(compiled.positiontup or compiled.binds)
        self._positional = dialect.positional
        kinds = {name: compiled.binds[name].type.dialect_impl(dialect) for name in self._names}
        self._writers = {name: kind.bind_processor(dialect) for name, kind in kinds.items()}

    def parameters(self, row: Row) -> Any:
        """Return a row as the driver takes it."""
        written = [row[name] if (write := self._writers[name]) is None else write(row[name]) for name in self._names]
        return tuple(written) if self._positional else dict(zip(self._names, written, strict=True))


class Batch:
    """Statements to be executed in their order in the transaction of a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._calls: list[tuple[str, list[Any]]] = []

    def add(self, statement: sa.ClauseElement, rows: Sequence[Row]) -> None:
        """Add a statement with rows of the same columns; it is executed for each."""
        if rows:
            prepared = _prepared(statement, self._connection.dialect, tuple(rows[0]))
            self._calls.append((prepared.text, [prepared.parameters(row) for row in rows]))

    def execute(self) -> Any:
        """Execute all, and return the row that the last one gives, None where it gives none."""
        if not self._calls:
            return None
        calls, self._calls = self._calls, []
        if self._connection.dialect.name == "sqlite":
            for text, rows in calls:
                result = self._connection.exec_driver_sql(text, rows if len(rows) > 1 else rows[0])
            return result.one_or_none() if result.returns_rows else None
        driver: Any = self._connection.connection.driver_connection
        with _explained(self._connection):
            with driver.pipeline():
                for text, rows in calls:
                    for row in rows:
                        answer = driver.execute(text, row)
            return answer.fetchone() if answer.description else None


@lru_cache(256)
def _prepared(statement: sa.ClauseElement, dialect: Dialect, names: tuple[str, ...]) -> Prepared:
    return Prepared(statement, dialect, names)


@contextmanager
def _explained(connection: Connection) -> Iterator[None]:
    """Turn the driver's own errors into SQLAlchemy's, as SQLAlchemy does."""
    dialect = connection.dialect
    assert dialect.dbapi is not None
    family: Any = dialect.dbapi.Error
    try:
        yield
    except family as error:
        lost = dialect.is_disconnect(error, connection.connection, None)
        if lost:
            connection.invalidate(error)
            connection.engine.dispose()  # the other connections are no better
        raise DBAPIError.instance(None, None, error, family, connection_invalidated=lost, dialect=dialect) from error
