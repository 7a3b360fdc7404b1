"""Studies carried from one store to another by a file: between SQLite and PostgreSQL nothing is lost or made up."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgres import plain

from nas.storage import digest
from nas.store import State, Store, StoreError, queries
from nas.store.models import Base
from nas.storing.exporting import export_store
from nas.storing.importing import import_store
from nas.storing.portable import PortableError, beside

ODD = [0.5, -1e300, 5e-324, math.nan, math.inf, -math.inf, 1 / 3]


def fill(store: Store, name: str, seed: int = 0, trials: int = 12) -> int:
    """Add a study with rows in every table, their values and states by chance."""
    rng = Random(seed)
    study = store.add_study(name, {"objectives": ["a", "b"], "bounds": [math.inf], "trials": trials, "ü": "→"})
    with store.driving(name) as seat:
        for number in range(trials):
            with seat.writing(study) as writer:
                state = rng.choice(list(State))
                options: dict[str, Any] = {"parent": number // 2, "forked_at": 3} if number > 6 else {}
                architecture = {"width": number, "x": {"y": [rng.random(), "ü", None, True]}}
                row = writer.add_trial(number, architecture, f"{number:064x}", f"{number:064d}", 2**63 - 1, **options)
                writer.event("asked", {"turn": number, "note": {"genes": [rng.choice(ODD)]}}, row)
                writer.start(row, 1, "w", "cpu")
                for step in range(rng.randrange(4)):
                    writer.report(row, step, {name: rng.choice(ODD) for name in ("a", "b", "rate")})
                if state.ended:
                    writer.end(row, 1, state, values={"a": rng.choice(ODD), "b": 1.0}, reason="line\none\0", error="é")
                    writer.artifact(row, "weights", f"{number:05}/w.bin", "ab" * 32, 2**40)
                else:
                    writer.mark(row, state)
        with seat.writing(study) as writer:
            writer.event("closing", {})
            writer.score("e" * 64, "gradsign", math.nan, 0.25)
            writer.score("f" * 64, "gradsign", None, 0.5, "no gradient")
    return study


def story(store: Store, name: str) -> dict[str, list[Any]]:
    """All that a store says of a study in every table and column, with trials and drivers by number instead of id.

    It is read by the database's own words; drivers are those that have ended.
    """
    [(study,)] = plain(store.address, f"SELECT id FROM study WHERE name = '{name}'")
    numbers = dict(plain(store.address, f"SELECT id, number FROM trial WHERE study_id = {study}"))
    ids = plain(store.address, f"SELECT id FROM driver WHERE study_id = {study} ORDER BY id")
    drivers = {key: i for i, (key,) in enumerate(ids)}
    told: dict[str, list[Any]] = {}
    for table in Base.metadata.sorted_tables:
        names = [column.name for column in table.columns]
        cast = [f"CAST({each} AS TEXT)" if each in ("settings", "architecture", "payload") else each for each in names]
        scope = "study_id" if "study_id" in names else "trial_id" if "trial_id" in names else "id"
        of = f"IN (SELECT id FROM trial WHERE study_id = {study})" if scope == "trial_id" else f"= {study}"
        order = "ORDER BY id" if "id" in names else ""
        found = []
        for row in plain(store.address, f"SELECT {', '.join(cast)} FROM {table.name} WHERE {scope} {of} {order}"):
            fact = dict(zip(names, row, strict=True))
            fact.pop("id", None)
            fact.pop("study_id", None)
            if "trial_id" in fact:
                fact["trial_id"] = numbers.get(fact["trial_id"])
            if table.name == "trial":
                fact["driver"] = drivers.get(fact["driver"])
            if table.name == "study":
                fact["settings"] = {k: v for k, v in json.loads(fact["settings"]).items() if k != "files"}
            value = fact.get("value", 0.0)
            if value is not None and "value" in fact:
                fact["value"] = float(value).hex()
            found.append(fact)
        told[table.name] = found if order else sorted(found, key=repr)
    return told


@pytest.fixture
def stores(tmp_path: Path, databases: Callable[[], str]) -> Iterator[Callable[[str], Store]]:
    """Makes new stores, on SQLite or on PostgreSQL."""
    made: list[Store] = []

    def make(kind: str) -> Store:
        url = databases() if kind == "postgresql" else f"sqlite:///{tmp_path}/{len(made)}/nas.db"
        (tmp_path / str(len(made))).mkdir()
        made.append(Store.open(url, create=True))
        return made[-1]

    yield make
    for each in made:
        each.engine.dispose()


@pytest.mark.parametrize(
    "way", [("sqlite", "postgresql", "sqlite"), ("postgresql", "sqlite", "postgresql"), ("postgresql", "postgresql")]
)
def test_what_goes_round_comes_back_the_same(
    stores: Callable[[str], Store], tmp_path: Path, way: tuple[str, ...]
) -> None:
    first, *others = (stores(kind) for kind in way)
    fill(first, "before", seed=1)
    fill(first, "one", seed=2)
    wanted = {name: story(first, name) for name in ("before", "one")}
    assert all(wanted["one"].values()) and len(wanted["one"]) == len(Base.metadata.tables) == 9
    at = first
    for i, store in enumerate(others):
        fill(store, "shifts the ids", seed=i, trials=3 + i)
        done = export_store(at, tmp_path / f"{i}.gz", ["before", "one"])
        taken = import_store(store, tmp_path / f"{i}.gz")
        assert taken.studies == ("before", "one")
        assert {name: count for name, count in done.rows.items() if count} == taken.rows
        at = store
        for name, told in wanted.items():
            assert story(at, name) == told
    with at.driving("one") as seat, seat.writing(queries.study(at, "one").id) as writer:
        writer.add_trial(12, {}, "i", "k", 0)


def test_one_of_several_studies_is_taken_under_another_name(stores: Callable[[str], Store], tmp_path: Path) -> None:
    first, second = stores("sqlite"), stores("postgresql")
    fill(first, "one", seed=1)
    fill(first, "two", seed=2)
    export_store(first, tmp_path / "all.gz")
    assert import_store(second, tmp_path / "all.gz", ["two"], "three").studies == ("three",)
    assert [row.name for row in queries.studies(second)] == ["three"]
    wanted = story(first, "two")
    wanted["study"][0]["name"] = "three"
    assert story(second, "three") == wanted


def test_a_file_is_strict_json_in_gzip_that_says_what_it_is(stores: Callable[[str], Store], tmp_path: Path) -> None:
    store = stores("sqlite")
    fill(store, "one")
    export_store(store, tmp_path / "one.gz")
    lines = gzip.decompress((tmp_path / "one.gz").read_bytes()).splitlines(keepends=True)

    def never(word: str) -> None:
        raise AssertionError(f"{word} is not strict JSON")

    head, *body, end = (json.loads(line, parse_constant=never) for line in lines)
    assert (head["format"], head["version"], head["revision"], head["files"]) == ("nas store", 1, "0003", False)
    assert end["sha256"] == sha256(b"".join(lines[:-1])).hexdigest()
    counted: dict[str, int] = dict.fromkeys(head["columns"], 0)
    for table, rows in body:
        counted[table] += len(rows)
        assert all(len(row) == len(head["columns"][table]) for row in rows)
    assert counted == end["rows"] and counted["trial"] == 12
    assert {json.dumps(row[3]) for table, rows in body if table == "metric" for row in rows} >= {
        '{"$number": "nan"}',
        '{"$number": "inf"}',
        '{"$number": "-inf"}',
        "5e-324",
    }
    export_store(store, tmp_path / "again.gz")
    assert (tmp_path / "again.gz").read_bytes() == (tmp_path / "one.gz").read_bytes()


def test_an_export_is_of_one_moment_whatever_is_written_meanwhile(
    stores: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nas.storing import exporting

    for kind in ("sqlite", "postgresql"):
        store, other = stores(kind), stores("sqlite")
        study = fill(store, "one")
        wanted = story(store, "one")
        begin = exporting.Sink.add

        def add(sink: Any, table: str, rows: Any, store: Store = store, study: int = study, begin: Any = begin) -> None:
            if table == "study":
                with store.writing(study) as writer:
                    writer.event("late", {})
                    writer.score("0" * 64, "late", 1.0, 1.0)
                    writer.add_trial(99, {}, "late", "late", 0)
            begin(sink, table, rows)

        with monkeypatch.context() as patched:
            patched.setattr(exporting.Sink, "add", add)
            export_store(store, tmp_path / f"{kind}.gz")
        import_store(other, tmp_path / f"{kind}.gz")
        assert story(other, "one") == wanted
        assert queries.count(store, study) == 13


def changed(path: Path, change: Callable[[bytes], bytes]) -> Path:
    """Write a file with other content, soundly packed."""
    made = path.with_name("changed.gz")
    made.write_bytes(gzip.compress(change(gzip.decompress(path.read_bytes()))))
    return made


def without_a_line(text: bytes) -> bytes:
    lines = text.splitlines(keepends=True)
    return b"".join(lines[:5] + lines[6:])


def replaced(old: str, new: str) -> Callable[[Path], Path]:
    return lambda path: changed(path, lambda text: text.replace(old.encode(), new.encode(), 1))


def by_another(old: str, new: str) -> Callable[[Path], Path]:
    """What another version would have written: with a sum of its own."""

    def change(text: bytes) -> bytes:
        *lines, end = text.replace(old.encode(), new.encode(), 1).splitlines(keepends=True)
        return b"".join(lines) + json.dumps(json.loads(end) | {"sha256": sha256(b"".join(lines)).hexdigest()}).encode()

    return lambda path: changed(path, change)


BROKEN: dict[str, tuple[Callable[[Path], Path], str]] = {
    "another number": (replaced("0.5", "0.6"), "was changed after it was written: export the store again"),
    "a line less": (lambda path: changed(path, without_a_line), "was changed after it was written"),
    "a line more": (lambda path: changed(path, lambda text: text + b"1\n"), "was cut short"),
    "no last line": (lambda path: changed(path, lambda text: text.rpartition(b'{"rows"')[0]), "was cut short: copy it"),
    "another format": (replaced('"nas store"', '"notes"'), "is not a file that `nas store export` wrote"),
    "not JSON": (replaced("{", "notes"), "is damaged, or no file of `nas store export`"),
    "a newer version": (replaced('"version": 1', '"version": 2'), "is of version 2, made by a newer nas: upgrade nas"),
    "a newer schema": (by_another('"0003"', '"0099"'), r"was made by a newer nas .*: upgrade nas"),
    "another table": (by_another('"score": ', '"songs": '), "has tables that this nas does not know: upgrade nas"),
    "another column": (by_another('"seconds"', '"minutes"'), "has tables that this nas does not know: upgrade nas"),
    "not gzip": (lambda path: path.with_name("note.gz"), "is damaged, or no file of `nas store export`"),
    "not there": (lambda path: path.with_name("none.gz"), "cannot be read: No such file"),
    "a folder": (lambda path: path.parent, "cannot be read: Is a directory"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_what_is_not_whole_is_refused_and_changes_nothing(
    stores: Callable[[str], Store], tmp_path: Path, case: str
) -> None:
    first, second = stores("sqlite"), stores("sqlite")
    fill(first, "one")
    fill(second, "there", seed=5)
    wanted = story(second, "there")
    export_store(first, tmp_path / "one.gz")
    (tmp_path / "note.gz").write_text("these are notes")
    make, message = BROKEN[case]
    with pytest.raises((PortableError, StoreError), match=message) as raised:
        import_store(second, make(tmp_path / "one.gz"))
    assert "\n" not in str(raised.value)
    assert [row.name for row in queries.studies(second)] == ["there"] and story(second, "there") == wanted


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("exported")
    store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
    fill(store, "one", trials=4)
    export_store(store, folder / "one.gz")
    return (folder / "one.gz").read_bytes()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 1, exclude_max=True), flip=st.booleans())
def test_a_file_that_is_cut_or_garbled_anywhere_is_refused(
    exported: bytes, tmp_path: Path, share: float, flip: bool
) -> None:
    at = int(share * len(exported))
    broken = bytearray(exported if flip else exported[:at])
    if flip:
        broken[at] ^= 0x55
    (tmp_path / "broken.gz").write_bytes(broken)
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    try:
        import_store(store, tmp_path / "broken.gz")
    except PortableError as error:
        assert "\n" not in str(error) and queries.studies(store) == []
    else:
        # What gzip keeps beside the content (time, name, system) may differ without harm.
        assert flip and gzip.decompress(bytes(broken)) == gzip.decompress(exported)
        with store.begun() as connection:
            connection.exec_driver_sql("DELETE FROM study")
    finally:
        store.engine.dispose()


def test_a_name_that_is_taken_is_refused_with_the_remedy(stores: Callable[[str], Store], tmp_path: Path) -> None:
    first = stores("sqlite")
    fill(first, "one")
    fill(first, "two")
    export_store(first, tmp_path / "all.gz")
    with pytest.raises(StoreError, match=r"study 'one' exists already in .*: give it another name with --as NAME"):
        import_store(first, tmp_path / "all.gz")
    with pytest.raises(StoreError, match="--as three is for one study: say which with --study"):
        import_store(first, tmp_path / "all.gz", renamed="three")
    with pytest.raises(StoreError, match="has no study none"):
        import_store(first, tmp_path / "all.gz", ["none"])
    assert len(queries.studies(first)) == 2
    with pytest.raises(StoreError, match=r"no study 'none' in .*: there are one, two"):
        export_store(first, tmp_path / "none.gz", ["none"])
    with pytest.raises(PortableError, match=r"all\.gz is there already: name another file"):
        export_store(first, tmp_path / "all.gz")
    with pytest.raises(PortableError, match="cannot be written: No such file"):
        export_store(first, tmp_path / "none" / "all.gz")
    with pytest.raises(StoreError, match=r"there is no study in .*: nothing to export"):
        export_store(stores("sqlite"), tmp_path / "empty.gz")
    assert sorted(path.name for path in tmp_path.glob("*gz*")) == ["all.gz"]


def test_a_driver_that_runs_there_does_not_run_here(stores: Callable[[str], Store], tmp_path: Path) -> None:
    first, second = stores("postgresql"), stores("postgresql")
    study = fill(first, "one")
    with first.driving("one") as seat:
        with seat.writing(study) as writer:
            row = writer.add_trial(12, {}, "i", "k", 0)
            writer.start(row, 1, "w", "cpu")
        export_store(first, tmp_path / "one.gz")
        assert first.driven("one")
        import_store(second, tmp_path / "one.gz")
        assert not second.driven("one")
    [trial] = [each for each in queries.trials(second, queries.study(second, "one").id) if each.number == 12]
    assert trial.state is State.RUNNING and trial.driver is not None


def left(store: Store, name: str) -> dict[str, bytes]:
    folder = store.folder(name)
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_files_stay_where_they_are_and_are_found_from_the_other_store(
    stores: Callable[[str], Store], tmp_path: Path
) -> None:
    first, second, third = stores("sqlite"), stores("postgresql"), stores("sqlite")
    fill(first, "one")
    (first.folder("one") / "00000").mkdir()
    (first.folder("one") / "00000" / "w.bin").write_bytes(b"weights")
    export_store(first, tmp_path / "one.gz")
    taken = import_store(second, tmp_path / "one.gz", renamed="two")
    assert taken.folders == {"two": first.folder("one")}
    assert Store.open(second.address).folder("two") == first.folder("one")
    os.rename(first.folder("one"), tmp_path / "moved")
    assert import_store(third, tmp_path / "one.gz").folders == {"one": third.files / "one"}


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_files_come_along_in_a_tar(
    stores: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = stores("sqlite"), stores(kind)
    fill(first, "one")
    fill(first, "two")
    for name in ("one", "two"):
        for part in ("00000/w.bin", "00001/checkpoint.pt"):
            path = first.folder(name) / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(f"{name} {part}".encode())
    (first.folder("one") / "link").symlink_to("/etc/passwd")
    done = export_store(first, tmp_path / "all.gz", files=True)
    assert done.files == beside(tmp_path / "all.gz") == tmp_path / "all.gz.files.tar"
    tar = done.files.read_bytes()

    done.files.write_bytes(tar[:-1] + b"x")
    with pytest.raises(PortableError, match=r"all\.gz\.files\.tar is not the one that was written with the export"):
        import_store(second, tmp_path / "all.gz")
    done.files.unlink()
    with pytest.raises(PortableError, match="is not there, and holds the files of the studies: put it beside"):
        import_store(second, tmp_path / "all.gz")
    done.files.write_bytes(tar)
    (second.files / "three").mkdir(parents=True)
    with pytest.raises(StoreError, match="three is there already: move it away, or import the study with --as NAME"):
        import_store(second, tmp_path / "all.gz", ["one"], "three")
    (second.files / "three").rmdir()
    assert queries.studies(second) == [] and left_over(second.files) == []

    taken = import_store(second, tmp_path / "all.gz", ["one"], "three")
    assert taken.folders == {"three": second.files / "three"} and second.folder("three") == second.files / "three"
    assert left(second, "three") == {
        "00000/w.bin": b"one 00000/w.bin",
        "00001/checkpoint.pt": b"one 00001/checkpoint.pt",
    }
    assert import_store(second, tmp_path / "all.gz", ["two"]).studies == ("two",)
    assert left(second, "two") == {"00000/w.bin": b"two 00000/w.bin", "00001/checkpoint.pt": b"two 00001/checkpoint.pt"}


def left_over(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_files_of_a_study_that_is_being_run_are_not_packed(stores: Callable[[str], Store], tmp_path: Path) -> None:
    store = stores("sqlite")
    fill(store, "one")
    with store.driving("one"), pytest.raises(StoreError, match="'one' is being run, and its files change: wait for"):
        export_store(store, tmp_path / "one.gz", files=True)
    assert list(tmp_path.glob("*gz*")) == []
    with store.driving("one"):
        export_store(store, tmp_path / "one.gz")


def test_a_study_in_a_storage_keeps_its_name(stores: Callable[[str], Store], tmp_path: Path) -> None:
    first, second = stores("sqlite"), stores("sqlite")
    first.add_study("one", {"storage": "s3://bucket/nets"})
    export_store(first, tmp_path / "one.gz")
    with pytest.raises(StoreError, match=re.escape("the files of study 'one' lie in s3://bucket/nets/one: keep its")):
        import_store(second, tmp_path / "one.gz", renamed="two")
    assert import_store(second, tmp_path / "one.gz").studies == ("one",)


def test_files_of_a_study_whose_folder_was_moved_and_linked_come_along(
    stores: Callable[[str], Store], tmp_path: Path
) -> None:
    first, second = stores("sqlite"), stores("sqlite")
    fill(first, "one")
    place = first.folder("one")
    (tmp_path / "large disk").mkdir()
    (tmp_path / "large disk" / "w.bin").write_bytes(b"weights")
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(tmp_path / "large disk")
    export_store(first, tmp_path / "one.gz", files=True)
    import_store(second, tmp_path / "one.gz")
    assert left(second, "one") == {"w.bin": b"weights"}


def test_a_study_that_begins_to_run_while_its_files_are_packed_is_not_exported(
    stores: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = stores("sqlite")
    fill(store, "one")
    with ExitStack() as running:

        def begun(path: Path) -> str:
            running.enter_context(store.driving("one"))
            return digest(path)

        monkeypatch.setattr("nas.storing.exporting.digest", begun)
        with pytest.raises(StoreError, match="'one' is being run, and its files change"):
            export_store(store, tmp_path / "one.gz", files=True)
    assert list(tmp_path.glob("*gz*")) == []


def test_a_tar_that_was_cut_takes_nothing_in_and_leaves_nothing(stores: Callable[[str], Store], tmp_path: Path) -> None:
    first, second = stores("sqlite"), stores("sqlite")
    fill(first, "one")
    first.folder("one").mkdir(parents=True, exist_ok=True)
    (first.folder("one") / "w.bin").write_bytes(b"w" * 100_000)
    done = export_store(first, tmp_path / "one.gz", files=True)
    assert done.files is not None
    os.truncate(done.files, 50_000)
    with pytest.raises(PortableError, match=r"one\.gz\.files\.tar cannot be unpacked .*copy it again"):
        import_store(second, tmp_path / "one.gz")
    assert queries.studies(second) == [] and left_over(second.files) == []


def test_others_write_to_the_store_while_files_are_unpacked(
    stores: Callable[[str], Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = stores("sqlite"), stores("sqlite")
    fill(first, "one")
    export_store(first, tmp_path / "one.gz", files=True)

    def slow(path: Path) -> str:
        second.add_study("another", {})
        return digest(path)

    monkeypatch.setattr("nas.storing.importing.digest", slow)
    import_store(second, tmp_path / "one.gz")
    assert {row.name for row in queries.studies(second)} == {"one", "another"}


def test_a_study_without_trials_is_taken_in(stores: Callable[[str], Store], tmp_path: Path) -> None:
    first, second = stores("sqlite"), stores("sqlite")
    first.add_study("empty", {})
    export_store(first, tmp_path / "empty.gz")
    assert import_store(second, tmp_path / "empty.gz").rows["trial"] == 0
