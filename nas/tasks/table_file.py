"""Reading a table's file: CSV or JSON, gzipped or not, into rows of cells. What is wrong is named with its place."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from nas.tasks import TaskError

GZIP = b"\x1f\x8b"
KEY = "key"


class TableError(TaskError):
    """A table that cannot be read; one line that names the file, the place and the remedy."""


@dataclass(frozen=True)
class Row:
    """The cells of a row by column, with its place in the file. A CSV's cells are texts, a JSON's what it holds."""

    place: str
    cells: dict[str, Any]


@dataclass(frozen=True)
class TableFile:
    """A file that has been read; `content` is the SHA-256 of its uncompressed bytes."""

    path: Path
    content: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]

    def error(self, row: Row, message: str) -> TableError:
        """Return the error that names a row."""
        return TableError(f"table {self.path}, {row.place}: {message}")


def read_table(path: Path) -> TableFile:
    """Read a table, once in a process while the file stays as it is; raises TableError."""
    try:
        stamp = path.stat()
    except OSError as error:
        raise TableError(f"table {path} cannot be opened: {error.strerror}; see that the path is right") from None
    return _read(path.absolute(), path, stamp.st_mtime_ns, stamp.st_size)


@lru_cache(maxsize=8)
def _read(absolute: Path, path: Path, changed: int, size: int) -> TableFile:
    data = _bytes(path)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(f"table {path} is not text in UTF-8: byte {error.start} is none; convert it") from None
    rows = tuple(_json(path, text) if text.lstrip()[:1] in ("{", "[") else _csv(path, text))
    if not rows:
        raise TableError(f"table {path} has no rows: write a head of column names and a row for each result")
    columns = tuple(dict.fromkeys(name for row in rows for name in row.cells))
    return TableFile(path, sha256(data).hexdigest(), columns, rows)


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
        return gzip.decompress(data) if data.startswith(GZIP) else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TableError(f"table {path} is a damaged gzip file ({error}): fetch or make it again") from None
    except OSError as error:
        raise TableError(f"table {path} cannot be read: {error.strerror}; name a file") from None


def _csv(path: Path, text: str) -> Iterator[Row]:
    lines = csv.reader(io.StringIO(text, newline=""))
    try:
        head = next(lines, [])
        twice = sorted({name for name in head if head.count(name) > 1 or not name})
        if twice:
            raise TableError(f"table {path}, line 1: column {twice[0]!r} has no name of its own: rename it")
        for cells in lines:
            if cells:
                place = f"line {lines.line_num}"
                if len(cells) != len(head):
                    raise TableError(
                        f"table {path}, {place}: it has {len(cells)} cells, but there are {len(head)} columns; mend it"
                    )
                yield Row(place, dict(zip(head, cells, strict=True)))
    except csv.Error as error:
        raise TableError(f"table {path}, line {lines.line_num}: {error}; mend it") from None


def _json(path: Path, text: str) -> Iterator[Row]:
    """Read a list of rows, or an object from key to a row or to a list of rows."""
    try:
        data = json.loads(text)
    except ValueError as error:
        raise TableError(f"table {path} is not JSON: {error}; mend it") from None
    if isinstance(data, list):
        for number, cells in enumerate(data, 1):
            yield Row(f"row {number}", _cells(path, f"row {number}", cells))
        return
    for key, value in data.items():
        for cells in value if isinstance(value, list) else [value]:
            yield Row(f"key {key!r}", {KEY: key} | _cells(path, f"key {key!r}", cells))


def _cells(path: Path, place: str, cells: Any) -> dict[str, Any]:
    if not isinstance(cells, dict):
        raise TableError(f"table {path}, {place}: it is {json.dumps(cells)[:40]}, but an object of columns is asked")
    return cells
