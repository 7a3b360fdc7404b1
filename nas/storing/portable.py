"""The file that carries studies from one store to another: gzip around lines of strict JSON.

    {"format": "nas store", "version": 1, "revision": "0003", "columns": {"study": ["id", ...], ...}, "files": false}
    ["study", [[1, "first", ...]]]
    ["trial", [[7, 1, 0, "search", ...], [8, ...]]]        up to 500 rows a line
    ...
    {"rows": {"study": 1, "trial": 2, ...}, "files": null, "sha256": "..."}

A study comes with everything of it before the next one begins, each table after those that it points to. Ids are
those of the store that the file was written from; times are seconds since the epoch; a number that is not finite is
{"$number": "nan"}, "inf" or "-inf". The SHA-256 is that of all lines before the last one, so that a file that was cut
or changed is known. With "files", the studies' files lie in a tar beside it, FILE.files.tar, whose SHA-256 is noted.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas.errors import UserError
from nas.store import encoding
from nas.store.models import Artifact, Attempt, Base, Driver, Event, Metric, Score, Study, Trial, Value

FORMAT, VERSION = "nas store", 1
TABLES: tuple[type[Base], ...] = (Study, Driver, Trial, Attempt, Metric, Value, Artifact, Score, Event)
ROWS = 500
PACKED = 4  # of 9: twice as fast as gzip's own 9 or 6, and a tenth larger
Row = Sequence[Any]


class PortableError(UserError):
    """A file of studies that cannot be written or read; one line that names it and the remedy."""


def columns(table: type[Base]) -> list[str]:
    """Return the names of a table's columns in their order."""
    return [column.name for column in table.__table__.columns]


def beside(path: Path) -> Path:
    """Return the path of the tar with the files of the studies in a file."""
    return path.with_name(f"{path.name}.files.tar")


class Sink:
    """Writes a file line by line, and its last line when that is asked for."""

    def __init__(self, stream: gzip.GzipFile, revision: str, *, files: bool) -> None:
        self.rows = {table.__tablename__: 0 for table in TABLES}
        self._stream = stream
        self._digest = sha256()
        named = {table.__tablename__: columns(table) for table in TABLES}
        self._write({"format": FORMAT, "version": VERSION, "revision": revision, "columns": named, "files": files})

    def add(self, table: str, rows: Sequence[Row]) -> None:
        """Write some rows of a table."""
        self.rows[table] += len(rows)
        self._write([table, rows])

    def end(self, files: str | None) -> None:
        """Write the last line; `files` is the SHA-256 of the tar beside, where there is one."""
        self._write({"rows": self.rows, "files": files, "sha256": self._digest.hexdigest()})

    def _write(self, data: Any) -> None:
        line = encoding.dumps(data).encode() + b"\n"
        self._digest.update(line)
        self._stream.write(line)


class Source:
    """Reads a file line by line. What it says is sound only when all was read: then `end` is its last line."""

    def __init__(self, stream: gzip.GzipFile, path: Path) -> None:
        self._lines = iter(stream)
        self._path = path
        self._digest = sha256()
        self.end: dict[str, Any] = {}
        head = self._read()
        if not isinstance(head, dict) or head.get("format") != FORMAT or not isinstance(head.get("columns"), dict):
            raise PortableError(f"{path} is not a file that `nas store export` wrote")
        if head.get("version") != VERSION:
            raise PortableError(f"{path} is of version {head.get('version')}, made by a newer nas: upgrade nas")
        self.head: dict[str, Any] = head

    def rows(self) -> Iterator[tuple[str, list[Row]]]:
        """Give the rows of tables as they come; raises PortableError where the file was cut or changed."""
        found = dict.fromkeys(self.head["columns"], 0)
        while not self.end:
            before = self._digest.hexdigest()
            line = self._read()
            if isinstance(line, list) and len(line) == 2 and line[0] in found:
                table, rows = line
                found[table] += len(rows)
                yield table, rows
            elif isinstance(line, dict) and line.get("sha256") == before and line.get("rows") == found:
                self.end = line
            else:
                raise PortableError(f"{self._path} was changed after it was written: export the store again")

    def _read(self) -> Any:
        try:
            line = next(self._lines)
            self._digest.update(line)
            return encoding.loads(line)
        except (EOFError, StopIteration):
            raise PortableError(f"{self._path} was cut short: copy it again, or export the store again") from None
        except (gzip.BadGzipFile, zlib.error, ValueError) as error:
            said = " ".join(str(error).split())
            raise PortableError(f"{self._path} is damaged, or no file of `nas store export` ({said})") from None
        except OSError as error:
            raise PortableError(f"{self._path} cannot be read: {error.strerror or error}") from None


@contextmanager
def source(path: Path) -> Iterator[Source]:
    """Open a file to read; raises PortableError where it is none."""
    try:
        stream = gzip.open(path, "rb")
    except OSError as error:
        raise PortableError(f"{path} cannot be read: {error.strerror or error}") from None
    with stream:
        yield Source(stream, path)


@contextmanager
def written(path: Path) -> Iterator[Path]:
    """Give the path to write a new file at, which appears under its own name when it is whole."""
    if path.exists():
        raise PortableError(f"{path} is there already: name another file, or delete it first")
    temporary = path.with_name(f".{path.name}.part")
    try:
        yield temporary
        temporary.rename(path)
    except OSError as error:
        raise PortableError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def packed(path: Path) -> gzip.GzipFile:
    """Open a file to write lines to; the same lines give the same file."""
    return gzip.GzipFile(path, "wb", PACKED, mtime=0)
