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
    """A file that was found to be whole. Raises PortableError for one that is none, or was cut or changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.head, self.end = _examined(path)

    def rows(self) -> Iterator[tuple[str, list[Row]]]:
        """Give the rows of tables in their order, some at a time."""
        with _told(self._path), gzip.open(self._path, "rb") as stream:
            for line in stream:
                said = encoding.loads(line)
                if isinstance(said, list):
                    table, rows = said
                    yield table, rows


def _examined(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a file through, and return its first and its last line."""
    digest = sha256()
    with _told(path), gzip.open(path, "rb") as stream:
        line = next(stream, b"null")
        head = encoding.loads(line)
        if not isinstance(head, dict) or head.get("format") != FORMAT:
            raise PortableError(f"{path} is not a file that `nas store export` wrote")
        if head.get("version") != VERSION:
            raise PortableError(f"{path} is of version {head.get('version')}, made by a newer nas: upgrade nas")
        for following in stream:
            digest.update(line)
            line = following
        end = encoding.loads(line)
    if not isinstance(end, dict) or "sha256" not in end:
        raise _cut(path)
    if end["sha256"] != digest.hexdigest():
        raise PortableError(f"{path} was changed after it was written: export the store again")
    return head, end


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Say in a line what is wrong with a file that cannot be read."""
    try:
        yield
    except EOFError:
        raise _cut(path) from None
    except (gzip.BadGzipFile, zlib.error, ValueError) as error:
        said = " ".join(str(error).split())
        raise PortableError(f"{path} is damaged, or no file of `nas store export` ({said})") from None
    except OSError as error:
        raise PortableError(f"{path} cannot be read: {error.strerror or error}") from None


def _cut(path: Path) -> PortableError:
    return PortableError(f"{path} was cut short: copy it again, or export the store again")


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


@contextmanager
def packed(path: Path) -> Iterator[gzip.GzipFile]:
    """Open a file to write lines to; the same lines give the same file."""
    with open(path, "wb") as raw, gzip.GzipFile("", "wb", PACKED, raw, mtime=0) as stream:
        yield stream
