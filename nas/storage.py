"""The files of a study: in its folder, on a disk that driver and workers share, or in a storage behind fsspec.

Below a storage's URI lies what otherwise lies in the study's folder: `<folder of a trial>/<file>`. A file appears
there as a whole or not at all: object stores do that by themselves, elsewhere it is uploaded under another name and
moved. Credentials are found where fsspec and its file systems look for them: in the environment and their own files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import file_digest
from pathlib import Path, PurePosixPath
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Any

from nas.errors import UserError

ATOMIC = {"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "oci", "oss"}
EXAMPLES = "file:///a/shared/folder, s3://bucket/folder or gs://bucket/folder"


class StorageError(UserError):
    """Files that cannot be read or written where they should be; the message names the place and the cause."""


class Storage:
    """A folder that fsspec reaches; paths are relative to it, with slashes. Whatever fails is a StorageError."""

    def __init__(self, uri: str) -> None:
        self.uri = hidden(uri)
        self._files, self._root = _reach(uri)
        named = self._files.protocol
        self._atomic = not ATOMIC.isdisjoint((named,) if isinstance(named, str) else named)

    def put(self, source: Path, relative: str) -> None:
        """Upload a file, in the place of one that is there."""
        target = self._path(relative)
        with self._telling("written", relative):
            if self._atomic:
                self._files.put_file(str(source), target)
                return
            folder, _, name = target.rpartition("/")
            temporary = f"{folder}/.{name}.{token_hex(4)}"
            self._files.makedirs(folder, exist_ok=True)
            self._files.put_file(str(source), temporary)
            self._files.mv(temporary, target)

    def get(self, relative: str, target: Path) -> bool:
        """Download a file to a path on this disk, as a whole; False where there is no such file."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.{token_hex(4)}")
        try:
            with self._telling("read", relative):
                try:
                    self._files.get_file(self._path(relative), str(temporary))
                except FileNotFoundError:
                    return False
                os.replace(temporary, target)
            return True
        finally:
            temporary.unlink(missing_ok=True)

    def delete(self, relative: str) -> None:
        """Delete a file, if it is there."""
        with self._telling("deleted", relative):
            try:
                self._files.rm_file(self._path(relative))
            except FileNotFoundError:
                pass

    def exists(self, relative: str) -> bool:
        # fsspec's own `exists` takes whatever goes wrong for a no.
        with self._telling("looked for", relative):
            self._files.invalidate_cache()
            try:
                self._files.info(self._path(relative))
            except FileNotFoundError:
                return False
            return True

    def names(self, folder: str) -> list[str]:
        """Return the names of the files in a folder, sorted; none where there is no such folder."""
        with self._telling("listed", folder):
            self._files.invalidate_cache()
            try:
                found = self._files.ls(self._path(folder), detail=True)
            except FileNotFoundError:
                return []
            return sorted(each["name"].rpartition("/")[2] for each in found if each["type"] == "file")

    def _path(self, relative: str) -> str:
        return f"{self._root}/{within(relative)}"

    @contextmanager
    def _telling(self, done: str, relative: str) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            raise StorageError(f"{self.uri}/{relative} cannot be {done}: {_first(error)}") from error


class StudyFiles:
    """A study's files as its driver has them: in the study's folder, and in its storage where there is one."""

    def __init__(self, folder: Path, uri: str | None = None) -> None:
        self.folder = folder
        self._storage = Storage(uri) if uri is not None else None

    def fetch(self, relative: str, sha256: str | None = None) -> Path:
        """Return a file on this disk, downloaded if it is not there yet or not as it should be.

        Raises StorageError where there is none, or its SHA-256 is another.
        """
        path = self.folder / within(relative)
        if self._whole(path, sha256):
            return path
        if self._storage is not None and self._storage.get(relative, path) and self._whole(path, sha256):
            return path
        place = self._storage.uri if self._storage is not None else str(self.folder)
        fault = "is damaged: its SHA-256 is not the one that was noted" if path.is_file() else "is not there"
        raise StorageError(f"{place}/{relative} {fault}; train the trial again, or bring the file back")

    def exists(self, relative: str) -> bool:
        """Say whether a file can be fetched."""
        if (self.folder / within(relative)).is_file():
            return True
        return self._storage is not None and self._storage.exists(relative)

    def delete(self, relative: str) -> None:
        """Delete a file wherever it is, if it is there."""
        (self.folder / within(relative)).unlink(missing_ok=True)
        if self._storage is not None:
            self._storage.delete(relative)

    def names(self, trial: str) -> list[str]:
        """Return the names of the files in the folder of a trial (`00012`), sorted."""
        folder = self.folder / within(trial)
        here = {each.name for each in folder.iterdir() if each.is_file()} if folder.is_dir() else set()
        return sorted(here | set(self._storage.names(trial) if self._storage is not None else ()))

    def _whole(self, path: Path, sha256: str | None) -> bool:
        return path.is_file() and sha256 in (None, digest(path))


def check_storage(uri: str) -> None:
    """Write, replace, read and delete a small file; raises StorageError, one line that says why that fails."""
    if uri.startswith("memory:"):
        raise StorageError(f"--storage {uri} is seen by one process alone: write {EXAMPLES}")
    storage, name = Storage(uri), f".check-{token_hex(4)}"
    with TemporaryDirectory(prefix="nas-") as scratch:
        file, back = Path(scratch, "sent"), Path(scratch, "back")
        for text in ("first", "second"):
            file.write_text(text)
            storage.put(file, name)
            if not storage.get(name, back) or back.read_text() != text:
                raise StorageError(f"--storage {storage.uri} does not give back what was written: name another place")
        storage.delete(name)
        if storage.exists(name):
            raise StorageError(f"--storage {storage.uri} does not delete what was written: name another place")


def below(uri: str, name: str) -> str:
    """Return the URI of a folder in a storage."""
    return f"{uri.rstrip('/')}/{name}"


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with open(path, "rb") as handle:
        return file_digest(handle, "sha256").hexdigest()


def within(relative: str) -> str:
    """Return a relative path that stays inside; raises StorageError for one that leads out of the folder."""
    path = PurePosixPath(relative)
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise StorageError(f"{relative!r} is no path inside a study's folder")
    return str(path)


def hidden(uri: str) -> str:
    """Return a URI with its password, if it has one, blotted out."""
    return re.sub(r"://([^/@:]*):(.*)@", r"://\1:***@", uri, flags=re.DOTALL)


def _reach(uri: str) -> tuple[Any, str]:
    """Return fsspec's file system for a URI, and the path in it."""
    from fsspec.core import url_to_fs

    protocol, separator, rest = uri.partition("://")
    shown = hidden(uri)
    if not separator or "::" in uri or (protocol in ("file", "local") and not rest.startswith("/")):
        raise StorageError(f"--storage {shown} is no URI of a folder: write {EXAMPLES}")
    try:
        files, root = url_to_fs(uri)
    except ImportError as error:
        raise StorageError(f"--storage {shown} needs a package, here and on the workers: {_first(error)}") from error
    except ValueError as error:
        raise StorageError(f"--storage {shown} cannot be used: {_first(error)}; write {EXAMPLES}") from error
    except Exception as error:
        raise StorageError(f"--storage {shown} cannot be reached: {_first(error)}") from error
    return files, str(root).rstrip("/")


def _first(error: BaseException) -> str:
    name, lines = type(error).__name__, str(error).strip().splitlines()
    return f"{name}: {lines[0]}"[:200] if lines else name
