"""The command line: its errors are one line each, its JSON parses, its figures are those of the store."""

from __future__ import annotations

import gc
import hashlib
import io
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from fake_runs import TWELVE, WIDE, Fake, evaluate, register, start
from rich.console import Console

import nas
from nas import cli, watching
from nas.execution.inline import Inline
from nas.interruption import interruptible
from nas.job import Evaluation, Job, Outcome, Report
from nas.store import Store, queries
from nas.tasks import find_task


@dataclass
class Ran:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Run = Callable[..., Ran]


@pytest.fixture(autouse=True)
def ctrl_c() -> Iterator[None]:
    """Let Ctrl-C be heard: programs in the background, and some libraries' tests before this, have it ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is not None:
        signal.signal(signal.SIGINT, before)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run a command in this process and in an empty folder, with an evaluation that trains nothing."""
    register(monkeypatch, WIDE, TWELVE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NAS_DEBUG", "")
    monkeypatch.setattr("nas.study.make_executor", lambda *_: Inline(evaluate))
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["nas", *arguments])
        with pytest.raises(SystemExit) as end:
            cli.main()
        signal.signal(signal.SIGTERM, before)
        printed = capsys.readouterr()
        return Ran(int(end.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store of a finished study, and an exported network of trial 0."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        register(patched, WIDE)
        study = start(folder, trials=6)
        study.run(Fake())
        study.store.engine.dispose()
    plain = nas.search(
        "kan_vision", "digits", store=f"sqlite:///{folder}/real.db", study="real", workers=1, trials=1, epochs=1
    )
    plain.export(0, folder / "exported")
    plain.store.engine.dispose()
    (folder / "notes.txt").write_text("these are notes, not tables")
    (folder / "full").mkdir()
    (folder / "full" / "file").touch()
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path) -> Path:
    """A copy of it, in the folder where commands run."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def contents(folder: Path) -> dict[str, str]:
    gc.collect()
    files = (file for file in sorted(folder.rglob("*")) if file.is_file() and not re.search("-(wal|shm)$", file.name))
    kept = {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return kept | {str(each): "" for each in folder.rglob("*") if each.is_dir()}


SEARCH = "search --space wide --study new --trials 2 --epochs 1 --schedule none"
TABLE = "search --space digits_bench --task table:digits_bench --study new --trials 2 --strategy random"
BAD = {
    "unknown space": (f"{SEARCH} --space kan_vison", "unknown space 'kan_vison': did you mean kan_vision?"),
    "unknown task": (f"{SEARCH} --task digit", "unknown task 'digit': did you mean digits?"),
    "unknown strategy": (f"{SEARCH} --strategy tpee", "unknown strategy 'tpee': did you mean tpe?"),
    "unknown schedule": (f"{SEARCH} --schedule ahsa", "unknown schedule 'ahsa': did you mean asha?"),
    "unknown objective": (f"{SEARCH} --objective acuracy", "unknown objective 'acuracy': did you mean accuracy?"),
    "unknown predictor": (f"{SEARCH} --screen gradsing:4", "unknown predictor 'gradsing': did you mean gradsign"),
    "nothing near": (f"{SEARCH} --strategy zzz", "unknown strategy 'zzz': there are: .*cmaes, .*random, .*tpe"),
    "no trials": (f"{SEARCH} --trials 0", "--trials 0 is not allowed: it must be at least 1"),
    "negative trials": (f"{SEARCH} --trials -4", "--trials -4 is not allowed: it must be at least 1"),
    "words for trials": (f"{SEARCH} --trials many", "'many'.*--help"),
    "no epochs": (f"{SEARCH} --epochs 0", "--epochs 0 is not allowed: it must be at least 1"),
    "words for epochs": (f"{SEARCH} --epochs 1.5", "'1.5'"),
    "no workers": (f"{SEARCH} --workers 0", "--workers 0 is not allowed: it must be at least 1"),
    "negative workers": (f"{SEARCH} --workers -1", "--workers -1 is not allowed: it must be at least 1"),
    "words for workers": (f"{SEARCH} --workers two", "'two'"),
    "an objective twice": (f"{SEARCH} --objective loss --objective loss", "names loss, loss: name each one once"),
    "too many objectives": (
        f"{SEARCH} --strategy cmaes",
        "'cmaes' does not do several objectives .got 2.: name one --objective, or use ",
    ),
    "constraint": (f"{SEARCH} --constraint params<5", "constraint 'params<5' does not parse: write it as 'params<="),
    "trained constraint": (f"{SEARCH} --constraint accuracy>=0.9", "'accuracy>=0.9' is on accuracy, which needs train"),
    "screen": (f"{SEARCH} --screen gradsign", "--screen 'gradsign' does not parse: write predictors and"),
    "executor": (f"{SEARCH} --executor rya", "--executor 'rya' is not known: choose one of auto, inline, ray, simu"),
    "simulated training": (f"{SEARCH} --executor simulated", "looks results up, but task digits trains: use --exec"),
    "trained table": (f"{TABLE} --executor ray", "--executor ray trains, but table:digits_bench is looked up: use"),
    "table of another space": (f"{SEARCH} --task table:digits_bench", "nor one for the decisions of wide .*--space"),
    "no such table": (f"{SEARCH} --task table:no.csv", "table no.csv cannot be opened: No such file or directory"),
    "no such column": (f"{TABLE} --objective latency", "--objective latency needs a column latency, which table:dig"),
    "test data": (f"{TABLE} --objective max:test_accuracy", "'max:test_accuracy' is not allowed, because a search n"),
    "a column of no table": (f"{SEARCH} --objective max:score", "reads a column of a table, but task digits trains"),
    "bad seconds": (f"{TABLE} --trial-seconds 5:1", "--trial-seconds '5:1' does not parse: write seconds from 0 up"),
    "real seconds": (f"{SEARCH} --trial-seconds 5", "--trial-seconds are virtual, but task digits trains in real t"),
    "limit": (f"{SEARCH} --only network.width=x", "network.width is limited to 'x', but an integer"),
    "strategy option": (f"{SEARCH} --strategy-option a=1", "strategy tpe has no option 'a'"),
    "study name": (f"{SEARCH} --study a/b", "--study 'a/b' is not allowed: use up to 60 letters, digits"),
    "no such option": (f"{SEARCH} --trails 3", "--trails.*--help"),
    "no such command": ("serch", "'serch'.*--help"),
    "store URL": (f"{SEARCH} --store nas.db", "store 'nas.db' is not a database URL: write it as sqlite:///nas.db"),
    "store of another kind": (f"{SEARCH} --store mysql://h/x", "'mysql://h/x' is not supported: .*SQLite.*PostgreSQL"),
    "store in no folder": (f"{SEARCH} --store sqlite:///no/nas.db", "'sqlite:///no/nas.db' cannot be made: .*make it"),
    "not a database": (f"{SEARCH} --store sqlite:///notes.txt", "notes.txt is not a database; give another file"),
    "a list of no store": ("list --store sqlite:///none.db", "there is no store at .*none.db: start one with"),
    "a list of no database": ("list --store sqlite:///notes.txt", "notes.txt is not a database; give another file"),
    "other settings": (
        "search --space wide --study one --trials 9 --epochs 3 --strategy random --schedule none --seed 4",
        "study 'one' exists with other settings .seed 4 instead of 0.: choose another --study",
    ),
    "resume nothing": ("resume two", "there is no study 'two' in .*: there are one"),
    "resume with no trials": ("resume one --trials 0", "--trials 0 is not allowed: it must be at least 1"),
    "resume with negative trials": ("resume one --trials -3", "--trials -3 is not allowed: it must be at least 1"),
    "resume with no workers": ("resume one --workers 0", "--workers 0 is not allowed"),
    "show nothing": ("show two", "there is no study 'two' in .*: there are one"),
    "show no trial": ("show one --trial 99", "study 'one' has no trial 99: its trials are 0 to 5"),
    "show a negative trial": ("show one --trial -1", "study 'one' has no trial -1: its trials are 0 to 5"),
    "show words": ("show one --trial last", "'last'"),
    "best of nothing": ("best two", "there is no study 'two'"),
    "best none": ("best one --top 0", "'--top': .*1, but got '0' .see `nas best --help`"),
    "compare with nothing": ("compare one two", "there is no study 'two'"),
    "compare": ("compare", "STUDY"),
    "confirm nothing": ("confirm two", "there is no study 'two'"),
    "confirm no repeats": ("confirm one --repeats 0", "'--repeats': .*1, but got '0'"),
    "export nothing": ("export two --output new", "there is no study 'two'"),
    "export no trial": ("export one --trial 99 --output new", "study 'one' has no trial 99"),
    "export without weights": ("export one --trial 0 --output new", "left no weights"),
    "export to a full folder": (
        "export real --trial 0 --output full --store sqlite:///real.db",
        "full exists and is not an empty folder: name another one, or empty it",
    ),
    "export to a file": (
        "export real --trial 0 --output notes.txt --store sqlite:///real.db",
        "notes.txt exists and is not an empty folder",
    ),
    "export under a file": (
        "export real --trial 0 --output notes.txt/new --store sqlite:///real.db",
        "notes.txt/new cannot be .*name another",
    ),
    "evaluate nothing": ("evaluate none", "none/architecture.json is not there: name a folder that `nas export`"),
    "evaluate on no split": ("evaluate exported --split all", "split 'all' is unknown: name train, validation, test"),
    "evaluate on no task": ("evaluate exported --task digit", "unknown task 'digit': did you mean digits?"),
    "no such space": ("spaces kan", "unknown space 'kan'"),
    "no such kind": ("catalog basiss", "unknown kind 'basiss': did you mean basis?"),
}


def test_a_table_is_searched_resumed_and_leaves_no_weights(run: Run) -> None:
    command = f"{TABLE} --workers 3 --trial-seconds 1:4 --schedule asha --quiet"
    assert run(*command.split()).code == 0
    made = run(*"resume new --trials 9 --json".split()).json
    assert made["settings"]["epochs"] == 5 and made["settings"]["trials"] == 9
    assert sum(made["trials"].values()) == 9 and set(made["trials"]) <= {"COMPLETED", "STOPPED"}
    assert made["settings"]["simulation"] | {"content": ""} == {"workers": 3, "seconds": [1, 4], "content": ""}
    for command in ("confirm new", "export new --output best"):
        ran = run(*command.split())
        assert ran.code == 2 and "left no weights: search with a task that trains" in ran.err


@pytest.mark.parametrize("case", BAD)
def test_a_mistake_is_one_line_with_value_and_remedy_and_changes_nothing(run: Run, here: Path, case: str) -> None:
    command, message = BAD[case]
    before = contents(here)
    ran = run(*command.split())
    assert ran.code == 2 and ran.out == ""
    assert ran.err.startswith("nas: ") and ran.err.count("\n") == 1 and ran.err.endswith("\n")
    assert re.search(message, ran.err), ran.err
    assert contents(here) == before


def test_debug_shows_the_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from search_spaces.registry import UnknownName

    monkeypatch.setattr(sys, "argv", ["nas", "--debug", "spaces", "kan"])
    with pytest.raises(UnknownName):
        cli.main()


def junk(file: Path) -> None:
    file.write_bytes(b"\x80\x04junk" * 50)


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-50] ^= 1
    file.write_bytes(bytes(data))


DAMAGES = [("weights.safetensors", damage) for damage in (junk, shorten, flip, Path.unlink)]


@pytest.mark.parametrize(
    ("name", "damage"), [*DAMAGES, *(("architecture.json", damage) for damage in (junk, shorten, Path.unlink))]
)
def test_a_damaged_export_is_refused_with_the_file(
    run: Run, here: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(here / "exported" / name)
    ran = run("evaluate", "exported")
    assert ran.code == 2 and ran.err.count("\n") == 1 and f"exported/{name}" in ran.err
    assert "export the network again" in ran.err or "name a folder that `nas export` wrote" in ran.err


@pytest.mark.parametrize("value", [None, 7, "x", [], {}, [1, 2], {"name": 3}, -1, ["a", "b", "c"]], ids=str)
def test_a_description_that_is_not_ours_is_refused(run: Run, here: Path, value: Any) -> None:
    file = here / "exported" / "architecture.json"
    description = json.loads(file.read_text())
    for key in ("format", "space", "architecture", "input_shape", "classes", "task", "weights_sha256"):
        file.write_text(json.dumps(description | {key: value}))
        ran = run("evaluate", "exported")
        assert ran.code == 2 and ran.out == "", key
        assert ran.err.startswith("nas: ") and ran.err.count("\n") == 1, (key, ran.err)
    file.write_text(json.dumps(value))
    assert run("evaluate", "exported").code == 2


def test_a_search_and_what_follows_it(run: Run, tmp_path: Path) -> None:
    searched = run(*SEARCH.split(), "--json")
    assert searched.code == 0 and searched.err == ""
    assert searched.json["study"] == "new" and searched.json["trials"] == {"COMPLETED": 2}
    assert run("list", "--json").json[0]["study"] == "new"
    shown = run("show", "new", "--json").json
    assert shown["front"] == searched.json["front"] and shown["settings"]["space"] == "wide"
    assert run("show", "new", "--trial", "1", "--json").json["trial"] == 1
    assert run("best", "new", "--json").json == shown["front"]
    confirmed = run("confirm", "new", "--top", "1", "--repeats", "2", "--json")
    assert confirmed.err == "" and confirmed.json[0]["confirmed"]["accuracy"]["count"] == 2
    compared = run("compare", "new", "new", "--json").json
    assert compared[0] == compared[1] and compared[0]["best"]["accuracy"] == shown["front"][0]["values"]["accuracy"]
    resumed = run("resume", "new", "--trials", "4", "--json")
    assert resumed.json["trials"] == {"COMPLETED": 4} and resumed.json["settings"]["trials"] == 4
    for command in ("spaces", "spaces kan_vision", "catalog", "catalog basis"):
        assert run(*command.split(), "--json").json


@pytest.mark.parametrize(
    "command", ["list", "show one", "show one --trial 2", "best one", "compare one one", "spaces", "catalog"]
)
def test_commands_print_tables_for_people(run: Run, here: Path, command: str) -> None:
    ran = run(*command.split())
    assert ran.code == 0 and ran.err == "" and len(ran.out.splitlines()) > 3


def test_plain_lines_when_not_a_terminal_and_none_when_quiet(run: Run) -> None:
    loud = run(*SEARCH.split())
    head, last = loud.err.splitlines()[0], loud.err.splitlines()[-1]
    assert head == "study new: wide on digits, tpe, 1 epoch a trial" and last.startswith("2/2 trials in ")
    assert "\x1b" not in loud.err and "Pareto front of new" in loud.out and "nas confirm new" in loud.out
    assert "--store" not in loud.out
    quiet = run(*SEARCH.split(), "--quiet", "--study", "hush", "--store", "sqlite:///other.db")
    assert quiet.err == "" and "Pareto front of hush" in quiet.out and f"{Path.cwd()}/other.db" in quiet.out
    assert run("confirm", "hush", "-q", "--store", "sqlite:///other.db").err == ""


def test_a_live_display_on_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(watching, "Console", lambda **options: Console(file=screen, force_terminal=True, width=100))
    assert run(*SEARCH.split(), "--constraint", "params<=600").code == 0
    assert "\x1b" in screen.getvalue() and "2/2" in screen.getvalue()


def test_what_a_trial_prints_does_not_get_into_the_json(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def talking(job: Job) -> Evaluation:
        print("epoch 1 of 1 ...")
        yield Report(0, {"params": 1.0})
        return Outcome({"accuracy": 0.5, "params": 1.0})

    monkeypatch.setattr("nas.study.make_executor", lambda *_: Inline(talking))
    ran = run(*SEARCH.split(), "--json")
    assert ran.json["trials"] == {"COMPLETED": 2} and "epoch 1 of 1" in ran.err


def test_no_successful_trial_is_exit_code_3(run: Run) -> None:
    for extra in ([], ["--json"]):
        ran = run(*SEARCH.split(), "--constraint", "params<=0", *extra)
        assert ran.code == 3 and ("infeasible" in ran.out or ran.json["trials"] == {"INFEASIBLE": 2})
    best = run("best", "new")
    assert best.code == 0 and "no completed trial yet" in best.out
    assert run("export", "new", "--output", "out").code == 2
    assert run("confirm", "new").code == 2


def test_a_space_that_is_used_up_is_said(run: Run) -> None:
    ran = run("search", "--space", "twelve", "--trials", "50", "--strategy", "random", "--study", "new", "-q")
    assert ran.code == 0 and "the space seems exhausted" in ran.out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_says_how_to_go_on(run: Run, monkeypatch: pytest.MonkeyPatch, number: signal.Signals) -> None:
    def interrupted(job: Job) -> Evaluation:
        if job.trial == 1 and job.attempt == 1:
            os.kill(os.getpid(), number)
            time.sleep(5)
        return (yield from evaluate(job))

    monkeypatch.setattr("nas.study.make_executor", lambda *_: Inline(interrupted))
    ran = run(*SEARCH.split(), "-q", "--store", "sqlite:///some where.db".replace(" ", "_"))
    where = f"--store sqlite:///{Path.cwd()}/some_where.db"
    assert ran.code == 130 and ran.out == ""
    assert ran.err == f"interrupted: everything so far is kept; go on with `nas resume new {where}`\n"
    again = run("resume", "new", *where.split(), "--json")
    assert again.code == 0 and again.json["trials"] == {"COMPLETED": 2}


def test_an_interrupted_confirmation_names_its_store_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run(*SEARCH.split(), "-q", "--store", "sqlite:///other.db")

    def interrupted(job: Job) -> Evaluation:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr("nas.study.make_executor", lambda *_: Inline(interrupted))
    ran = run("confirm", "new", "--top", "1", "--repeats", "2", "-q", "--store", "sqlite:///other.db")
    command = f"nas confirm new --top 1 --repeats 2 --store sqlite:///{Path.cwd()}/other.db"
    assert ran.code == 130 and f"`{command}`" in ran.err


@pytest.mark.parametrize("remedy", ["nas x --store sqlite:///a.db", "nas x --store=sqlite:///a.db"])
def test_a_remedy_that_names_the_store_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], remedy: str
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    store = Store.open(f"sqlite:///{tmp_path}/a.db", create=True)
    with pytest.raises(typer.Exit), interruptible(remedy, store):
        raise KeyboardInterrupt
    signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err.endswith(f"go on with `{remedy}`\n")


def test_a_study_of_the_same_command_is_gone_on_with(run: Run) -> None:
    run(*SEARCH.split(), "-q")
    again = run(*SEARCH.split(), "--trials", "5", "--json")
    assert again.code == 0 and again.json["trials"] == {"COMPLETED": 5}


def test_a_study_gets_a_readable_name(run: Run) -> None:
    names = {
        run("search", "--space", "wide", "--trials", "1", "--schedule", "none", "--json").json["study"]
        for _ in range(3)
    }
    assert len(names) == 3 and all(re.fullmatch(r"[a-z]+-[a-z]+(-\d+)?", name) for name in names)


def shell(folder: Path, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", "from nas.cli import main; main()", *arguments]
    return subprocess.run(program, cwd=folder, capture_output=True, text=True, timeout=300, **options)


def rows(folder: Path, query: str) -> list[Any]:
    connection = sqlite3.connect(folder / "nas.db")
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


@pytest.mark.slow
def test_from_search_to_evaluation_with_real_networks(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = shell(tmp_path, *"search --trials 6 --epochs 1 --workers 1 --seed 2 --study first --json".split())
    assert search.returncode == 0, search.stderr
    monkeypatch.setattr("nas.study.make_executor", lambda *_: Inline())
    accuracies = "SELECT number, value FROM trial JOIN value ON trial.id = trial_id AND name = 'accuracy' WHERE kind = "
    kept: dict[int, float] = dict(rows(tmp_path, accuracies + "'search'"))
    best = max(kept.values())
    front = json.loads(search.stdout)["front"]
    assert {each["trial"]: each["values"]["accuracy"] for each in front}.items() <= kept.items()
    assert front[0]["values"]["accuracy"] == best
    assert sum(run("list", "--json").json[0]["trials"].values()) == 6
    assert run(*"best first --top 2 --json".split()).json == front[:2]
    confirmed = run(*"confirm first --top 1 --repeats 2 --json".split()).json[0]["confirmed"]["accuracy"]
    repeats = [accuracy for _, accuracy in rows(tmp_path, accuracies + "'confirm'")]
    assert len(repeats) == confirmed["count"] == 2 and confirmed["mean"] == pytest.approx(sum(repeats) / 2)
    shown = run("show", "first").out
    assert f"{best:.4f}" in shown and "±" in shown
    assert run(*"compare first first --json".split()).json[0]["best"]["accuracy"] == best
    export = run(*"export first --output out".split())
    assert export.code == 0 and "nas evaluate out --split test" in export.out
    assert run(*"evaluate out --split validation --json".split()).json["accuracy"] == best
    facts = json.loads((tmp_path / "out" / "architecture.json").read_text())["facts"]
    assert facts["values"]["accuracy"] == best and facts["confirmed"]["accuracy"] == confirmed
    shown = f"| accuracy | {best:.6g} | {confirmed['mean']:.6g} ± {confirmed['deviation']:.6g} (n=2) |"
    assert shown in (tmp_path / "out" / "README.md").read_text()
    inputs, targets = find_task("digits").validation()
    with torch.no_grad():
        right = (nas.load(tmp_path / "out")(inputs).argmax(1) == targets).sum().item()
    assert right / len(targets) == kept[front[0]["trial"]]
    test = run(*"evaluate out --json".split()).json
    assert test["split"] == "test" and test["samples"] == 359


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.ray)])
def test_ctrl_c_in_a_real_search_and_its_resume(tmp_path: Path, workers: int) -> None:
    command = f"search --trials 4 --epochs 1 --workers {workers} --study first".split()
    process = subprocess.Popen(
        [sys.executable, "-c", "from nas.cli import main; main()", *command],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "nas.db").exists() or not metrics(tmp_path):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the whole group
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "interrupted: everything so far is kept; go on with `nas resume first`"
    assert "Traceback" not in err and out == ""
    resumed = shell(tmp_path, *"resume first --workers 1 --json".split())
    assert resumed.returncode == 0 and sum(json.loads(resumed.stdout)["trials"].values()) == 4, resumed.stderr
    store = Store.open(f"sqlite:///{tmp_path}/nas.db")
    assert all(row.state.ended for row in queries.trials(store, 1))


def metrics(folder: Path) -> int:
    try:
        return int(rows(folder, "SELECT count(*) FROM metric")[0][0])
    except sqlite3.OperationalError:
        return 0


@pytest.mark.slow
def test_no_network_fits_the_constraint(tmp_path: Path) -> None:
    ran = shell(tmp_path, *"search --trials 3 --epochs 1 --workers 1 --constraint params<=1 --study none".split())
    assert ran.returncode == 3 and "3 infeasible" in ran.stdout and "breaks params<=1" in ran.stdout
