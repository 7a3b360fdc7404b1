"""Stores as older revisions made them: each is upgraded, and nothing in it is lost."""

from __future__ import annotations

import gzip
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.script import ScriptDirectory
from postgres import plain

import nas
from nas.store import State, Store, migrations, queries
from nas.store.database import REVISION
from nas.store.models import Base
from nas.storing.check import check_store
from nas.storing.exporting import export_store
from nas.storing.importing import import_store

FROZEN = sorted(Path(__file__).parents[2].joinpath("assets").glob("store_*.db.gz"))
NAMES = [path.name[6:10] for path in FROZEN]


@pytest.fixture(params=FROZEN, ids=NAMES)
def frozen(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A store as a revision of the schema left it."""
    (tmp_path / "nas.db").write_bytes(gzip.decompress(request.param.read_bytes()))
    return tmp_path / "nas.db"


def rows(path: Path) -> dict[str, list[dict[str, Any]]]:
    """All rows of all tables as the database has them."""
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2, 3")]
            for name in names
            if name != "alembic_version"
        }


def test_every_revision_has_a_frozen_store() -> None:
    known = ScriptDirectory(str(Path(migrations.__file__).parent)).walk_revisions()
    assert sorted(each.revision for each in known) == NAMES and NAMES[-1] == REVISION
    for path, name in zip(FROZEN, NAMES, strict=True):
        assert gzip.decompress(path.read_bytes())[:15] == b"SQLite format 3", name


def test_an_upgrade_keeps_every_row_and_every_column(frozen: Path) -> None:
    before = rows(frozen)
    revision = plain(f"sqlite:///{frozen}", "SELECT version_num FROM alembic_version")[0][0]
    assert before.keys() >= {"study", "trial", "metric", "event", "score"} and all(
        before[name] for name in before if name != "driver"
    )
    store = Store.open(f"sqlite:///{frozen}")
    assert store.found == revision and plain(store.address, "SELECT version_num FROM alembic_version") == [(REVISION,)]
    after = rows(frozen)
    assert set(after) == set(Base.metadata.tables)
    for name, table in Base.metadata.tables.items():
        assert len(after[name]) == len(before.get(name, []))
        for old, new in zip(before.get(name, []), after[name], strict=True):
            assert {column: new[column] for column in old} == old
            assert list(new) == list(table.columns.keys())
            assert {new[column] for column in new.keys() - old.keys()} <= {None}


def test_an_upgraded_store_has_the_schema_of_a_new_one(frozen: Path, tmp_path: Path) -> None:
    upgraded, made = Store.open(f"sqlite:///{frozen}"), Store.open(f"sqlite:///{tmp_path}/new.db", create=True)
    for table in Base.metadata.tables:
        one, other = (
            {
                "columns": [(each["name"], str(each["type"]), each["nullable"]) for each in found.get_columns(table)],
                "key": found.get_pk_constraint(table)["constrained_columns"],
                "indexes": sorted((str(each["name"]), each["column_names"]) for each in found.get_indexes(table)),
            }
            for found in (sa.inspect(upgraded.engine), sa.inspect(made.engine))
        )
        assert one == other


def test_an_upgraded_store_is_read_in_full_and_is_sound(frozen: Path) -> None:
    store = Store.open(f"sqlite:///{frozen}")
    studies = {row.name: row for row in queries.studies(store)}
    assert {name: row.ended for name, row in studies.items()} == {"random": 5, "asha": 8, "every state": 4}
    study = studies["every state"]
    trials = queries.trials(store, study.id, queries.Page(kind=None))
    assert [row.state for row in trials[:9]] == [*State, State.COMPLETED]
    assert [repr(row.values.get("loss")) for row in trials[:9]] == [
        *["None"] * 3,
        "nan",
        "inf",
        "None",
        "nan",
        "None",
        "1.5",
    ]
    assert trials[5].reason == "ValueError: ünfit" and trials[0].architecture == {"width": 0, "rate": 0.0}
    assert trials[8].parent == 3 and queries.confirmed(store, study.id)[3]["accuracy"].mean == 0.25
    assert queries.attempts(store, trials[7].id)[0].error == "the worker was lost: gone"
    assert [row.value for row in queries.scored(store, study.id)][::2] == [12.5, None]
    wrong = {each.name: each.problems for each in check_store(store.url) if each.wrong}
    [lost] = wrong.pop("files")
    assert wrong == {} and "trial 8: its weights, 00008/weights.safetensors, is not there" in lost


def test_a_search_of_an_older_revision_goes_on(frozen: Path) -> None:
    url = f"sqlite:///{frozen}"
    bench: dict[str, Any] = {"space": "digits_bench", "task": "table:digits_bench", "store": url}
    known = [(row["number"], row["identity"], row["state"]) for row in rows(frozen)["trial"] if row["study_id"] == 2]
    study = nas.search(**bench, study="asha", trials=11, schedule="asha", objectives=("accuracy",), seed=2)
    assert [(row.number, row.identity, row.state) for row in study][:8] == known
    fresh = nas.search(**bench, study="fresh", trials=11, schedule="asha", objectives=("accuracy",), seed=2)
    assert [(row.identity, row.state, row.values) for row in study] == [
        (row.identity, row.state, row.values) for row in fresh
    ]


def test_an_older_store_is_carried_to_postgres(frozen: Path, database: str, tmp_path: Path) -> None:
    old, new = Store.open(f"sqlite:///{frozen}"), Store.open(database, create=True)
    export_store(old, tmp_path / "all.gz")
    import_store(new, tmp_path / "all.gz")
    for row in queries.studies(old):
        there = queries.study(new, row.name)
        assert there.counts == row.counts
        one, other = (queries.trials(s, i, queries.Page(kind=None)) for s, i in ((old, row.id), (new, there.id)))
        assert [repr((t.number, t.state, t.values, t.architecture, t.step)) for t in one] == [
            repr((t.number, t.state, t.values, t.architecture, t.step)) for t in other
        ]
    new.engine.dispose()
