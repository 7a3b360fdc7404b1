"""The files of a trial, as its worker has them.

On a disk that the worker shares with the driver the worker works in the trial's folder. With a storage it works in a
folder of its own, which is removed at the end: what it is to go on from is downloaded, what it leaves is uploaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from nas.job import Artifact, Job
from nas.storage import Storage, digest


class TrialFiles:
    """Finds and leaves files; `folder` is where a trial's worker writes, and exists once something is to be written."""

    def __init__(self, folder: Path, storage: Storage | None = None) -> None:
        self.folder = folder
        self._storage = storage

    def find(self, name: str) -> Path | None:
        """Return one of the trial's own files, None where there is none."""
        return self._find(self.folder, name)

    def find_of(self, trial: str, name: str) -> Path | None:
        """Return a file of another trial of the study, whose folder has that name; None where there is none."""
        return self._find(self.folder.parent / trial, name)

    def new(self, name: str) -> Path:
        """Return the path at which a file is to be written."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def leave(self, name: str) -> Artifact:
        """Bring a file that was written to where others find it, and sign it."""
        self.publish(name)
        return self.sign(name)

    def sign(self, name: str) -> Artifact:
        """Return what one of the trial's files is."""
        path = self.folder / name
        return Artifact(f"{self.folder.name}/{name}", digest(path), path.stat().st_size)

    def publish(self, name: str) -> None:
        """Bring a file that was written to where others find it."""
        if self._storage is not None:
            self._storage.put(self.folder / name, f"{self.folder.name}/{name}")

    def place(self, trial: str, name: str) -> str:
        """Say where a file of a trial is, for people."""
        return f"{self._storage.uri}/{trial}/{name}" if self._storage else str(self.folder.parent / trial / name)

    def _find(self, folder: Path, name: str) -> Path | None:
        path = folder / name
        if self._storage is not None:
            return path if self._storage.get(f"{folder.name}/{name}", path) else None
        return path if path.exists() else None


@contextmanager
def files_of(job: Job) -> Iterator[TrialFiles]:
    """Give a job's files, for as long as it is worked on."""
    if job.storage is None:
        yield TrialFiles(job.folder)
        return
    storage = Storage(job.storage)
    with TemporaryDirectory(prefix="nas-", ignore_cleanup_errors=True) as scratch:
        yield TrialFiles(Path(scratch) / job.folder.name, storage)
