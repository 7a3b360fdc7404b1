from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from nas.storage import Storage, StorageError, StudyFiles, check_storage, hidden


class Flaky(MemoryFileSystem):
    """A file system that fails in a way of choice, and moves no file by copying it."""

    protocol = "flaky"
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    fault: Exception | None = None
    moves: list[tuple[str, str]] = []  # noqa: RUF012

    def info(self, path: str, **kwargs: Any) -> Any:
        self.fail()
        return super().info(path, **kwargs)

    def get_file(self, rpath: str, lpath: Any, **kwargs: Any) -> None:
        self.fail()
        super().get_file(rpath, lpath, **kwargs)

    def put_file(self, lpath: Any, rpath: str, **kwargs: Any) -> None:
        self.fail()
        super().put_file(lpath, rpath, **kwargs)

    def mv(self, path1: str, path2: str, **kwargs: Any) -> None:
        self.moves.append((path1, path2))
        super().mv(path1, path2, **kwargs)

    def fail(self) -> None:
        if self.fault is not None:
            raise self.fault


class Bucket(Flaky):
    """An object store: what is put is there as a whole."""

    protocol = ("s3", "s3a")
    store: dict[str, Any] = {}  # noqa: RUF012
    pseudo_dirs = [""]  # noqa: RUF012
    moves: list[tuple[str, str]] = []  # noqa: RUF012


@pytest.fixture(autouse=True)
def known(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(_registry, "flaky", Flaky)
    yield
    for kind in (MemoryFileSystem, Flaky, Bucket):
        kind.store.clear()
        kind.pseudo_dirs[:] = [""]
    Flaky.moves.clear()


@pytest.fixture(params=["file", "memory", "flaky"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return f"{request.param}://{tmp_path}/elsewhere/study"


def written(folder: Path, text: str) -> Path:
    path = folder / "written"
    path.write_text(text)
    return path


class TestStorage:
    def test_what_is_put_is_got_and_replaced_and_deleted(self, uri: str, tmp_path: Path) -> None:
        storage, back = Storage(uri), tmp_path / "deep" / "back"
        assert not storage.get("00001/a.pt", back) and not storage.exists("00001/a.pt")
        for text in ("first", "second"):
            storage.put(written(tmp_path, text), "00001/a.pt")
            assert storage.get("00001/a.pt", back) and back.read_text() == text
        assert storage.exists("00001/a.pt") and storage.names("00001") == ["a.pt"]
        storage.delete("00001/a.pt")
        storage.delete("00001/a.pt")
        assert not storage.exists("00001/a.pt") and storage.names("00001") == []
        assert [file.name for file in back.parent.iterdir()] == ["back"]

    def test_it_is_where_the_uri_says(self, tmp_path: Path) -> None:
        Storage(f"file://{tmp_path}/there/").put(written(tmp_path, "x"), "00001/a.pt")
        assert (tmp_path / "there" / "00001" / "a.pt").read_text() == "x"

    def test_names_are_sorted_and_those_of_files(self, uri: str, tmp_path: Path) -> None:
        storage = Storage(uri)
        for name in ("00001/b", "00001/a", "00001/inner/c", "00002/d"):
            storage.put(written(tmp_path, name), name)
        assert storage.names("00001") == ["a", "b"] and storage.names("00003") == []

    def test_a_file_is_moved_to_its_place_when_it_is_whole(self, tmp_path: Path) -> None:
        Storage("flaky://study").put(written(tmp_path, "x"), "00001/a.pt")
        [(before, after)] = Flaky.moves
        assert after.endswith("study/00001/a.pt") and Path(before).name.startswith(".a.pt.")

    def test_an_object_store_is_spared_the_move(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(_registry, "s3", Bucket)
        Storage("s3://bucket/study").put(written(tmp_path, "x"), "00001/a.pt")
        assert Bucket.moves == [] and Storage("s3://bucket/study").names("00001") == ["a.pt"]

    def test_an_upload_that_breaks_off_leaves_the_old_file(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = Storage("flaky://study")
        storage.put(written(tmp_path, "old"), "00001/a.pt")

        def half(self: Flaky, lpath: Any, rpath: str, **kwargs: Any) -> None:
            self.pipe_file(rpath, b"ne")
            raise ConnectionResetError("broken off")

        monkeypatch.setattr(Flaky, "put_file", half)
        with pytest.raises(StorageError, match=r"00001/a\.pt cannot be written: ConnectionResetError: broken off"):
            storage.put(written(tmp_path, "new"), "00001/a.pt")
        assert storage.get("00001/a.pt", tmp_path / "back") and (tmp_path / "back").read_text() == "old"

    @pytest.mark.parametrize("call", ["get", "exists"])
    def test_trouble_is_not_taken_for_a_file_that_is_not_there(
        self, call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        storage = Storage("flaky://study")
        storage.put(written(tmp_path, "x"), "00001/a.pt")
        monkeypatch.setattr(Flaky, "fault", PermissionError("no\nway"))
        with pytest.raises(StorageError, match=r"^flaky://study/00001/a\.pt cannot be .*: PermissionError: no$"):
            storage.get("00001/a.pt", tmp_path / "back") if call == "get" else storage.exists("00001/a.pt")
        assert not (tmp_path / "back").exists()

    @pytest.mark.parametrize("path", ["../a", "00001/../../a", "/etc/passwd", ""])
    def test_paths_stay_inside(self, path: str, tmp_path: Path) -> None:
        storage = Storage(f"file://{tmp_path}/study")
        for call in (storage.exists, storage.delete, storage.names, lambda p: storage.get(p, tmp_path / "x")):
            with pytest.raises(StorageError, match="is no path inside a study's folder"):
                call(path)


class TestStudyFiles:
    @pytest.fixture
    def files(self, uri: str, tmp_path: Path) -> StudyFiles:
        Storage(uri).put(written(tmp_path, "weights"), "00001/w")
        return StudyFiles(tmp_path / "study", uri)

    SIGN = hashlib.sha256(b"weights").hexdigest()

    def test_a_file_is_brought_once(self, files: StudyFiles, uri: str) -> None:
        assert files.exists("00001/w") and not files.exists("00001/v")
        path = files.fetch("00001/w", self.SIGN)
        assert path == files.folder / "00001" / "w" and path.read_text() == "weights"
        Storage(uri).delete("00001/w")
        assert files.fetch("00001/w", self.SIGN) == path == files.fetch("00001/w") and files.exists("00001/w")

    def test_a_damaged_copy_is_brought_again(self, files: StudyFiles) -> None:
        path = files.fetch("00001/w")
        path.write_text("weight")
        assert files.fetch("00001/w", self.SIGN).read_text() == "weights"

    def test_another_file_than_was_noted_is_refused(self, files: StudyFiles, uri: str) -> None:
        with pytest.raises(StorageError, match=f"^{uri}/00001/w is damaged: its SHA-256 is not the one"):
            files.fetch("00001/w", "0" * 64)

    def test_what_is_not_there_is_said(self, files: StudyFiles, uri: str) -> None:
        with pytest.raises(StorageError, match=f"^{uri}/00001/v is not there; train the trial again"):
            files.fetch("00001/v")

    def test_what_is_deleted_is_gone_from_both(self, files: StudyFiles) -> None:
        path = files.fetch("00001/w")
        files.delete("00001/w")
        files.delete("00001/w")
        assert not path.exists() and not files.exists("00001/w") and files.names("00001") == []

    def test_names_are_those_of_both(self, files: StudyFiles, tmp_path: Path) -> None:
        (files.folder / "00001").mkdir(parents=True)
        (files.folder / "00001" / "b").touch()
        assert files.names("00001") == ["b", "w"] and files.names("00002") == []

    def test_without_a_storage_the_folder_is_all_there_is(self, tmp_path: Path) -> None:
        files = StudyFiles(tmp_path)
        with pytest.raises(StorageError, match=f"^{tmp_path}/00001/w is not there"):
            files.fetch("00001/w")
        (tmp_path / "00001").mkdir()
        (tmp_path / "00001" / "w").write_text("weights")
        assert files.fetch("00001/w", self.SIGN).read_text() == "weights" and files.names("00001") == ["w"]
        with pytest.raises(StorageError, match="is damaged"):
            files.fetch("00001/w", "0" * 64)
        files.delete("00001/w")
        assert not files.exists("00001/w")


class TestCheck:
    def test_a_place_that_can_be_used_is_left_as_it_was(self, tmp_path: Path) -> None:
        check_storage(f"file://{tmp_path}/new")
        check_storage("flaky://study")
        assert list((tmp_path / "new").iterdir()) == [] and not Flaky.store

    @pytest.mark.parametrize(
        ("uri", "words"),
        [
            ("s3://bucket/x", r"needs a package, here and on the workers: ImportError: Install s3fs to access S3"),
            ("sftp://host/x", r'needs a package.*"paramiko" to be installed'),
            ("zzz://bucket", r"Protocol not known: zzz; write file:///a/shared/folder, s3://bucket/folder or"),
            ("/a/folder", r"is no URI of a folder: write file:///a/shared/folder"),
            ("file://a/folder", r"is no URI of a folder"),
            ("simplecache::s3://bucket", r"is no URI of a folder"),
            ("memory://x", r"is seen by one process alone: write file:///a/shared/folder"),
        ],
    )
    def test_what_cannot_be_used_is_said_in_one_line(
        self, uri: str, words: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for package in ("s3fs", "paramiko"):
            monkeypatch.setitem(sys.modules, package, None)
        monkeypatch.delitem(_registry, "s3", raising=False)
        with pytest.raises(StorageError, match=words) as caught:
            check_storage(uri)
        assert str(caught.value).startswith(f"--storage {uri} ") and "\n" not in str(caught.value)

    def test_a_place_below_a_file_is_said(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(StorageError, match=f"^file://{tmp_path}/file/.* cannot be written: "):
            check_storage(f"file://{tmp_path}/file")

    def test_a_lack_of_rights_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Flaky, "fault", PermissionError("Access Denied"))
        with pytest.raises(StorageError, match=r"cannot be written: PermissionError: Access Denied$"):
            check_storage("flaky://study")

    def test_a_place_that_forgets_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Flaky, "mv", lambda self, before, after: self.store.setdefault(after, self.store[before]))
        with pytest.raises(StorageError, match="flaky://study does not give back what was written"):
            check_storage("flaky://study")

    def test_a_place_that_deletes_nothing_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(Flaky, "rm_file", lambda self, path: None)
        with pytest.raises(StorageError, match="flaky://study does not delete what was written"):
            check_storage("flaky://study")

    def test_a_password_is_not_shown(self) -> None:
        with pytest.raises(StorageError, match=r"sftp://me:\*\*\*@host/x") as caught:
            check_storage("sftp://me:secret@host/x")
        assert "secret" not in str(caught.value)
        assert hidden("s3://bucket/a:b@c") == "s3://bucket/a:b@c" and hidden("ftp://me@host") == "ftp://me@host"

    @pytest.mark.parametrize("password", ["p@ss", "se/cret", "a:b", "pa/s@s:"])
    def test_no_part_of_an_odd_password_is_shown(self, password: str) -> None:
        assert hidden(f"sftp://me:{password}@host/x") == "sftp://me:***@host/x"
