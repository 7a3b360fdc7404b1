"""Studies written to one file, as they are at one moment, whatever is written to the store meanwhile."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nas.storage import digest
from nas.store import Store, StoreError, queries
from nas.store.database import REVISION
from nas.store.models import Base, Study, Trial
from nas.store.queries import StudyRow
from nas.store.store import FILES
from nas.storing.portable import ROWS, TABLES, Sink, beside, packed, written

LOCK = "driver.lock"


@dataclass(frozen=True)
class Written:
    """What an export wrote: the studies, the rows by table, and the tar with their files where it was asked for."""

    path: Path
    studies: tuple[str, ...]
    rows: dict[str, int]
    files: Path | None


def export_store(store: Store, path: Path, names: Sequence[str] = (), *, files: bool = False) -> Written:
    """Write studies (all of them, or those named) to a new file, with `files` theirs to a tar beside it.

    Raises StoreError for a name that is none and, with `files`, for a study that is being run; PortableError for a
    file that is there or cannot be written.
    """
    chosen = [queries.study(store, name) for name in dict.fromkeys(names)] or queries.studies(store)
    if not chosen:
        raise StoreError(f"there is no study in {store.url}: nothing to export")
    tar = _pack(store, beside(path), chosen) if files else None
    try:
        with written(path) as temporary, packed(temporary) as stream, _moment(store) as connection:
            sink = Sink(stream, REVISION, files=files)
            for study in chosen:
                _write(connection, sink, study.id, None if files else str(store.folder(study.name)))
            sink.end(None if tar is None else digest(tar))
            if tar is not None:
                _refuse_driven(store, chosen)  # one that began meanwhile
    except BaseException:
        if tar is not None:
            tar.unlink()
        raise
    return Written(path, tuple(study.name for study in chosen), sink.rows, tar)


def _write(connection: Connection, sink: Sink, study: int, folder: str | None) -> None:
    for table in TABLES:
        rows = connection.execution_options(yield_per=ROWS).execute(_all_of(table, study))
        for part in rows.partitions():
            lines = [list(row) for row in part]
            if table is Study:
                _place(lines[0], folder)
            sink.add(table.__tablename__, lines)


def _all_of(table: type[Base], study: int) -> sa.Select[Any]:
    """Select a study's rows of a table, in the order in which they were made."""
    query = sa.select(*table.__table__.columns).order_by(*sa.inspect(table).primary_key)
    if table is Study:
        return query.where(Study.id == study)
    if "study_id" in table.__table__.columns:
        return query.where(table.__table__.columns["study_id"] == study)
    return query.join(Trial, Trial.id == table.__table__.columns["trial_id"]).where(Trial.study_id == study)


def _place(row: list[Any], folder: str | None) -> None:
    """Let a study's settings say where its files lie; None where they come along."""
    at = [column.name for column in Study.__table__.columns].index("settings")
    settings = {name: value for name, value in row[at].items() if name != FILES}
    row[at] = settings if folder is None else settings | {FILES: folder}


@contextmanager
def _moment(store: Store) -> Iterator[Connection]:
    """Read the store as it is at one moment."""
    with store.reading() as connection:
        if store.shared:
            connection = connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        else:
            connection.exec_driver_sql("BEGIN")
        yield connection


def _pack(store: Store, path: Path, chosen: Sequence[StudyRow]) -> Path:
    """Write the folders of studies to a new tar."""
    _refuse_driven(store, chosen)
    with written(path) as temporary, tarfile.open(temporary, "w") as tar:
        for study in chosen:
            folder = store.folder(study.name)
            if folder.is_dir():
                tar.add(folder.resolve(), study.name, filter=_wanted)
    return path


def _refuse_driven(store: Store, chosen: Sequence[StudyRow]) -> None:
    for study in chosen:
        if store.driven(study.name):
            raise StoreError(f"study {study.name!r} is being run, and its files change: wait for it, or stop it")


def _wanted(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    plain = member.isfile() or member.isdir()
    return member if plain and member.name.rpartition("/")[2] != LOCK else None
