"""Studies taken from a file into a store, whole or not at all; their rows get new ids there."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from nas.storage import digest
from nas.store import Store, StoreError, migrations
from nas.store.models import Base, Driver, Study, Trial
from nas.store.store import FILES
from nas.storing.portable import TABLES, PortableError, Row, Source, beside, columns

AGAIN = "copy it again"


@dataclass(frozen=True)
class Taken:
    """What an import took: the studies by the names they have now, the rows by table, and where their files are."""

    studies: tuple[str, ...]
    rows: dict[str, int]
    folders: dict[str, Path]


@dataclass
class Rows:
    """The rows of a file on their way into a store.

    `wanted` are the studies to take, by name; all where it is empty. `renamed` is the name that the one study gets.
    """

    connection: Connection
    store: Store
    known: dict[str, list[str]]
    wanted: frozenset[str]
    renamed: str | None
    files: bool
    studies: dict[str, str] = field(default_factory=dict)
    rows: dict[str, int] = field(default_factory=lambda: {table.__tablename__: 0 for table in TABLES})
    study: int | None = None
    trials: dict[int, int] = field(default_factory=dict)
    drivers: dict[int, int] = field(default_factory=dict)

    def take(self, table: str, rows: Sequence[Row]) -> None:
        """Write rows, under the ids that they have here."""
        made = [dict(zip(self.known[table], row, strict=True)) for row in rows]
        if table == "study":
            self._begin(*made)
        if self.study is None:
            return
        self.rows[table] += len(made)
        if table == "driver":
            self._add_drivers(made)
        elif table == "trial":
            self._add_trials(made)
        elif table != "study":
            self._add(table, made)

    def _begin(self, row: dict[str, Any]) -> None:
        """Begin with a study, or pass it over."""
        self.study, self.trials, self.drivers = None, {}, {}
        name = row["name"]
        if self.wanted and name not in self.wanted:
            return
        if self.renamed is not None and self.studies:
            raise StoreError(f"--as {self.renamed} is for one study: say which with --study")
        new = self.renamed or name
        settings = self._settings(row["settings"], name, new)
        if self.connection.execute(sa.select(Study.id).where(Study.name == new)).first() is not None:
            raise StoreError(f"study {new!r} exists already in {self.store.url}: give it another name with --as NAME")
        self.studies[name] = new
        self.study = self._insert(Study, row | {"name": new, "settings": settings})

    def _settings(self, settings: dict[str, Any], name: str, new: str) -> dict[str, Any]:
        """Return a study's settings as they are here: with the place of its files, where it is not the usual one."""
        if settings.get("storage") and new != name:
            raise StoreError(f"the files of study {name!r} lie in {settings['storage']}/{name}: keep its name")
        rest = {key: value for key, value in settings.items() if key != FILES}
        folder = settings.get(FILES)
        if folder is not None and not self.files and Path(folder).is_dir():
            return rest | {FILES: folder}
        return self.store.placed(new, rest)

    def _add_drivers(self, rows: list[dict[str, Any]]) -> None:
        """Add drivers, none of which drives the study here."""
        for row in rows:
            ended = time.time() if row["ended"] is None else row["ended"]
            self.drivers[row["id"]] = self._insert(Driver, row | {"study_id": self.study, "ended": ended})

    def _add_trials(self, rows: list[dict[str, Any]]) -> None:
        made = [{k: v for k, v in row.items() if k != "id"} | {"study_id": self.study} for row in rows]
        for row in made:
            row["driver"] = self.drivers.get(row["driver"])
        self.connection.execute(sa.insert(Trial), made)
        numbers = sorted(row["number"] for row in rows)
        asked = sa.select(Trial.number, Trial.id).where(
            Trial.study_id == self.study, Trial.number.between(numbers[0], numbers[-1])
        )
        ids = {number: key for number, key in self.connection.execute(asked)}
        self.trials |= {row["id"]: ids[row["number"]] for row in rows}

    def _add(self, table: str, rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row.pop("id", None)
            if "study_id" in row:
                row["study_id"] = self.study
            if row.get("trial_id") is not None:
                row["trial_id"] = self.trials[row["trial_id"]]
        [model] = [each for each in TABLES if each.__tablename__ == table]
        self.connection.execute(sa.insert(model), rows)

    def _insert(self, model: type[Base], row: dict[str, Any]) -> int:
        row = {name: value for name, value in row.items() if name != "id"}
        key = self.connection.execute(sa.insert(model), row).inserted_primary_key
        assert key is not None
        return int(key[0])


def import_store(store: Store, path: Path, names: Iterable[str] = (), renamed: str | None = None) -> Taken:
    """Take studies (all of a file's, or those named) into a store, under their names or the one as another.

    Raises PortableError for a file that is none, was cut or changed, and StoreError for a name that is taken; then
    the store is as it was.
    """
    wanted = frozenset(names)
    file = Source(path)
    known = _columns(file, path)
    files = bool(file.head.get("files"))
    with ExitStack() as undo:
        # Unpacked first: that may take long, and from the first row on nobody else can write to the store.
        unpacked = undo.enter_context(_unpacked(store, beside(path), wanted)) if files else None
        with store.begun() as connection:
            taking = Rows(connection, store, known, wanted, renamed, files)
            for table, rows in file.rows():
                taking.take(table, rows)
            if missing := wanted - taking.studies.keys():
                raise StoreError(f"{path} has no study {', '.join(sorted(missing))}")
            if unpacked is not None:
                unpacked.check(file.end.get("files"))
                undo.enter_context(unpacked.placed(taking.studies))
    folders = {new: store.folder(new) for new in taking.studies.values()}
    return Taken(tuple(taking.studies.values()), taking.rows, folders)


def _columns(file: Source, path: Path) -> dict[str, list[str]]:
    """Return the columns of a file's tables; raises StoreError where a newer nas wrote it."""
    migrations.require_older(str(file.head.get("revision")), str(path))
    ours = {table.__tablename__: columns(table) for table in TABLES}
    known: dict[str, list[str]] = file.head["columns"]
    for table, names in known.items():
        if table not in ours or not set(names) <= set(ours[table]):
            raise PortableError(f"{path} has tables that this nas does not know: upgrade nas")
    return known


@dataclass(frozen=True)
class Unpacked:
    """The files of studies on their way into a store: the folder that they are in, and the SHA-256 of their tar."""

    store: Store
    tar: Path
    folder: Path
    sha256: str

    def check(self, noted: str | None) -> None:
        """Raise PortableError unless the tar is the one that was written with the export."""
        if self.sha256 != noted:
            raise PortableError(f"{self.tar} is not the one that was written with the export: {AGAIN}")

    @contextmanager
    def placed(self, studies: dict[str, str]) -> Iterator[None]:
        """Bring the folders of studies, by their old and new names, to where they lie, unless it comes to nothing."""
        targets = {old: self.store.files / new for old, new in studies.items()}
        for target in targets.values():
            if target.exists():
                raise StoreError(f"{target} is there already: move it away, or import the study with --as NAME")
        made = []
        try:
            for old, target in targets.items():
                if (self.folder / old).is_dir():
                    (self.folder / old).rename(target)
                    made.append(target)
            yield
        except BaseException:
            for target in made:
                shutil.rmtree(target, ignore_errors=True)
            raise


@contextmanager
def _unpacked(store: Store, tar: Path, wanted: frozenset[str]) -> Iterator[Unpacked]:
    """Unpack the files of studies, of all or those wanted, beside where they will lie."""
    if not tar.is_file():
        raise PortableError(f"{tar} is not there, and holds the files of the studies: put it beside the export")
    store.files.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".import-", dir=store.files) as folder:
        try:
            with tarfile.open(tar) as packed:
                for member in packed:
                    if not wanted or member.name.partition("/")[0] in wanted:
                        packed.extract(member, folder, filter="data")
        except (tarfile.TarError, EOFError) as error:
            raise PortableError(f"{tar} cannot be unpacked ({error}): {AGAIN}") from error
        yield Unpacked(store, tar, Path(folder), digest(tar))
