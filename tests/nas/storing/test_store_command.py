"""`nas store`: what its commands print, their exit codes, and errors of one line."""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pytest
from fake_runs import TWELVE, WIDE, Fake, register, start
from postgres import plain

from nas import cli
from nas.store import Store, queries

ASSETS = Path(__file__).parents[2] / "assets"


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process, in a folder with a store of one finished study."""
    register(monkeypatch, WIDE, TWELVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DEBUG", "")
    monkeypatch.delenv("NAS_STORE", raising=False)
    start(tmp_path, trials=5).run(Fake(), content="content")

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        printed = capsys.readouterr()
        return Ran(int(end.value.code or 0), printed.out, printed.err)

    return run


def test_check_prints_a_table_and_ends_with_1_where_something_is_wrong(run: Run, tmp_path: Path) -> None:
    sound = run("store", "check")
    assert sound.code == 0 and sound.err == "" and "architectures" in sound.out
    assert run("store", "check", "--files", "--json").json[1] == {
        "name": "numbers",
        "looked": 5,
        "wrong": 0,
        "problems": [],
    }
    plain(f"sqlite:///{tmp_path}/nas.db", "UPDATE trial SET ended = NULL")
    wrong = run("store", "check", "--study", "one")
    assert wrong.code == 1 and "ends: study one: trial 4 is COMPLETED and has no time of its end" in wrong.out
    found = run("store", "check", "--json")
    assert found.code == 1 and [each["wrong"] for each in found.json] == [0, 0, 5, 0, 0, 0, 0]


def test_studies_go_to_postgres_and_back_by_commands(run: Run, tmp_path: Path, database: str) -> None:
    exported = run("store", "export", "all.gz")
    assert exported.code == 0 and exported.out.splitlines() == [
        "one: 5 trials are in all.gz",
        "their files stay where they are",
        "next: nas store import all.gz --store URL",
    ]
    files = f"files of one: {tmp_path}/nas_files/one"
    url = database.replace("postgres@", "postgres:geheim@")
    taken = run("store", "import", "all.gz", "--store", url)
    assert taken.out.splitlines() == [
        f"one: 5 trials are in {database.replace('postgres@', 'postgres:***@')}",
        files,
    ]
    assert run("store", "check", "--store", url, "--json").code == 0
    assert run("store", "export", "back.gz", "--files", "--store", url).out.splitlines()[:2] == [
        "one: 5 trials are in back.gz",
        "their files are in back.gz.files.tar",
    ]
    assert run("store", "import", "back.gz", "--as", "two").out.splitlines() == [
        f"two: 5 trials are in sqlite:///{tmp_path}/nas.db",
        f"files of two: {tmp_path}/nas_files/two",
    ]
    one, two = ({row.number: row.values for row in queries.trials(Store.open(), i)} for i in (1, 2))
    assert one == two
    shown = run("list", "--json").json
    assert [row["study"] for row in shown] == ["one", "two"] and "geheim" not in taken.out


def test_studies_are_written_for_optuna(run: Run) -> None:
    written = run("store", "to-optuna", "sqlite:///optuna.db", "--quiet")
    assert written.code == 0 and written.out.splitlines() == [
        "one: 5 trials are in sqlite:///optuna.db",
        "next: optuna-dashboard sqlite:///optuna.db",
    ]
    assert len(optuna.load_study(study_name="one", storage="sqlite:///optuna.db").trials) == 5
    assert run("store", "to-optuna", "sqlite:///nas.db").code == 2


@pytest.mark.parametrize(("revision", "said"), [("0001", "from schema 0001 to"), ("0003", "has schema 0003 a")])
def test_upgrade_says_what_it_did(run: Run, tmp_path: Path, revision: str, said: str) -> None:
    (tmp_path / "old.db").write_bytes(gzip.decompress((ASSETS / f"store_{revision}.db.gz").read_bytes()))
    done = run("store", "upgrade", "--store", "sqlite:///old.db")
    assert done.code == 0 and said in done.out and f"sqlite:///{tmp_path}/old.db" in done.out
    assert "has schema 0003 already" in run("store", "upgrade", "--store", "sqlite:///old.db").out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["export", "x.gz", "--study", "none"], "there is no study 'none'"),
        (["import", "none.gz"], "none.gz cannot be read: No such file or directory"),
        (["import", "none.gz", "--as", "a/b"], "--study 'a/b' is not allowed"),
        (["import", "nas.db"], "nas.db is damaged, or no file of `nas store export` (Not a gzipped file (b'SQ'))"),
        (["to-optuna", "optuna.db"], "'optuna.db' is no database URL"),
        (["check", "--store", "sqlite:///none.db"], "there is no store at"),
        (["upgrade", "--store", "postgresql://me:geheim@127.0.0.1:1/x"], "'postgresql://me:***@127.0.0.1:1/x' is away"),
    ],
)
def test_errors_are_one_line(run: Run, arguments: list[str], said: str) -> None:
    failed = run("store", *arguments)
    assert failed.code == 2 and failed.out == "" and failed.err.count("\n") == 1
    assert said in failed.err and "geheim" not in failed.err
