"""Whether a store is sound: its file, what its rows say of each other, and the files of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError

from nas.storage import StorageError, StudyFiles, below
from nas.store import Store, queries
from nas.store.database import REVISION
from nas.store.errors import line
from nas.store.models import Study
from nas.store.queries import StudyRow
from nas.store.sqlite import file_of, make_engine
from nas.storing import accounts

KEPT = 100


@dataclass
class Check:
    """One thing that was looked at: at how many, how many are wrong, and what is wrong with the first hundred."""

    name: str
    looked: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)

    def note(self, problems: Iterable[str], looked: int) -> None:
        """Add what was found wrong among so many."""
        self.looked += looked
        for problem in problems:
            self.wrong += 1
            if len(self.problems) < KEPT:
                self.problems.append(problem)


def check_store(url: str, names: Sequence[str] = (), *, files: bool = False) -> list[Check]:
    """Look at a store, or at some studies of it, and with `files` into the files of its trials.

    A file that is damaged, or of an older schema, is looked at as a file alone: nothing is written to it. Raises
    StoreError for what is no store at all.
    """
    checks = [file for file in [_file(url)] if file is not None]
    if any(each.wrong for each in checks):
        return checks
    store = Store.open(url)
    chosen = _chosen(store, names)
    for name, account in accounts.ACCOUNTS.items():
        check = Check(name)
        for study in chosen:
            with store.reading() as connection:
                check.note(_of(study, account(connection, study)), accounts.trials(connection, study))
        checks.append(check)
    left = Check("files")
    for study in chosen:
        _look_at_files(store, study, left, contents=files)
    return [*checks, left]


def _chosen(store: Store, names: Sequence[str]) -> list[StudyRow]:
    """Return studies, none of whose trials are counted: that would fail where a state is none."""
    with store.reading() as connection:
        rows = connection.execute(sa.select(*Study.__table__.c).order_by(Study.id)).all()
    there = {row.name: StudyRow(row.id, row.name, row.settings, row.created, {}) for row in rows}
    return [there[name] if name in there else queries.study(store, name) for name in dict.fromkeys(names or there)]


def _of(study: StudyRow, problems: Iterable[str]) -> Iterator[str]:
    return (f"study {study.name}: {problem}" for problem in problems)


def _file(url: str) -> Check | None:
    """Look at a SQLite file as SQLite does, without opening it as a store; None for a server or what is no file."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return None
    if parsed.get_backend_name() != "sqlite":
        return None
    path = file_of(parsed, url)
    if not path.is_file() or not path.stat().st_size:
        return None
    check = Check("file")
    engine = make_engine(path)
    try:
        with engine.connect() as connection:
            check.note(_faults(connection, path), int(connection.exec_driver_sql("PRAGMA page_count").scalar() or 0))
    except DBAPIError as error:
        if getattr(error.orig, "sqlite_errorname", "").startswith("SQLITE_NOTADB"):
            return None
        check.note([line(error.orig)], 0)
    finally:
        engine.dispose()
    return check


def _faults(connection: Connection, path: Path) -> Iterator[str]:
    said = connection.exec_driver_sql(f"PRAGMA integrity_check({KEPT})").scalars().all()
    yield from (line(each) for each in said if each != "ok")
    for table, row, parent, _ in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield f"row {row} of table {table} belongs to a {parent} that is not there"
    tables = connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE name = 'alembic_version'").scalars()
    if tables.first() is not None:
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        if str(found) < REVISION:
            yield f"{path.name} is of schema {found}, this nas has {REVISION}: `nas store upgrade`, then check again"


def _look_at_files(store: Store, study: StudyRow, check: Check, *, contents: bool) -> None:
    """See that what trials left is there with its size, and with `contents` that its SHA-256 is the one noted."""
    uri = study.settings.get("storage")
    folder = store.folder(study.name)
    there = StudyFiles(folder, None if uri is None else below(uri, study.name))
    with store.reading() as connection:
        left = connection.execute(accounts.artifacts(study)).all()
    problems = (_fault(there, folder, each, contents) for each in left)
    check.note(_of(study, filter(None, problems)), len(left))


def _fault(there: StudyFiles, folder: Path, left: Any, contents: bool) -> str | None:
    what = f"trial {left.number}: its {left.kind}, {left.path},"
    try:
        if contents:
            there.fetch(left.path, left.sha256)
        elif not there.exists(left.path):
            return f"{what} is not there"
    except StorageError as error:
        return f"{what} cannot be used: {error}"
    here = folder / left.path
    if here.is_file() and here.stat().st_size != left.size:
        return f"{what} has {here.stat().st_size} bytes instead of {left.size}"
    return None
