"""Tables of results, functions, and what is asked of either: formats, errors, and the table that ships."""

from __future__ import annotations

import csv
import gzip
import hashlib
import importlib.util
import io
import json
import math
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nas.errors import UserError
from nas.job import Infeasible
from nas.objectives import objective
from nas.settings import Settings
from nas.simulation import simulate
from nas.tasks import Epoch, Known, TaskError, find_content, find_lookup, find_task
from nas.tasks.function import Function
from nas.tasks.table import Table
from search_spaces.decisions import Choice, DecisionError, Integer, Real, Struct
from search_spaces.space import Notation, Space, find_space


def read(text: str) -> Any:
    if text not in ("A", "B1", "B2", "B3"):
        raise DecisionError(f"{text!r} is no toy")
    return toy(text)


def toy(name: str) -> Any:
    return {"network": {"kind": "A" if name == "A" else {"B": {"size": int(name[1:])}}}}


def written(architecture: Any) -> str:
    kind = architecture["network"]["kind"]
    return "A" if kind == "A" else f"B{kind['B']['size']}"


TREE = Struct(network=Struct(kind=Choice("A", B=Struct(size=Integer(1, 3)))))
TOY = Space("toy", "for tests", TREE, lambda architecture, signature: pytest.fail("built"), Notation(written, read))
MIXED = Space(
    "mixed",
    "for tests",
    Struct(network=Struct(flag=Choice(True, False, None, 2), rate=Real(0, 1))),
    lambda architecture, signature: pytest.fail("built"),
)
FIGURES = {"A": (0.5, 10.0), "B1": (0.6, 21.0), "B3": (0.7, 23.0)}


def file(folder: Path, text: str | bytes, name: str = "t.csv") -> str:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(folder / name)


def by_notation() -> str:
    return "arch,val_accuracy,params\n" + "".join(f"{name},{a},{p:g}\n" for name, (a, p) in FIGURES.items())


def by_paths() -> str:
    lines = ["network.kind,network.kind:B.size,val_accuracy,params"]
    lines += [f"{name[0]},{name[1:]},{a},{p}" for name, (a, p) in FIGURES.items()]
    return "\r\n".join(lines) + "\r\n"


def rows(key: str, naming: Callable[[str], Any]) -> list[dict[str, Any]]:
    return [{key: naming(name), "val_accuracy": a, "params": p} for name, (a, p) in FIGURES.items()]


def json_in_csv() -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["architecture", "val_accuracy", "params"])
    writer.writerows([json.dumps(toy(name)), *figures] for name, figures in FIGURES.items())
    return text.getvalue()


FORMATS = {
    "CSV by notation": by_notation,
    "CSV by paths": by_paths,
    "CSV by JSON": json_in_csv,
    "JSON list by architecture": lambda: json.dumps(rows("architecture", toy)),
    "JSON list by notation": lambda: json.dumps(rows("notation", str)),
    "JSON by key": lambda: json.dumps({n: {"val_accuracy": a, "params": p} for n, (a, p) in FIGURES.items()}),
    "JSON list by paths": lambda: json.dumps(
        [
            {"network.kind": n[0], "val_accuracy": a, "params": p}
            | ({"network.kind:B.size": int(n[1])} if n[1:] else {})
            for n, (a, p) in FIGURES.items()
        ]
    ),
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("form", FORMATS)
def test_every_format_gives_the_same_figures(tmp_path: Path, form: str, zipped: bool) -> None:
    data = FORMATS[form]().encode()
    table = Table(file(tmp_path, gzip.compress(data) if zipped else data))
    for name, (accuracy, params) in FIGURES.items():
        known = table.look_up(TOY, toy(name), 5, 7)
        assert known == Known({"params": params}, (Epoch(7, {"val_accuracy": accuracy}),))
    assert set(table.metrics(TOY)) == {"val_accuracy", "params"} and table.epochs(TOY) is None
    with pytest.raises(Infeasible, match=r"t\.csv has no row for B2"):
        table.look_up(TOY, toy("B2"), 0, 1)
    assert table.content == hashlib.sha256(data).hexdigest()


def test_texts_are_read_as_their_decisions_write_them(tmp_path: Path) -> None:
    lines = ["network.flag,network.rate,x", "True,1,1", "false,0.5,2", "None,1e-1,3", "2,0,4"]
    table = Table(file(tmp_path, "\n".join(lines)))
    for x, (flag, rate) in {1: (True, 1.0), 2: (False, 0.5), 3: (None, 0.1), 4: (2, 0.0)}.items():
        known = table.look_up(MIXED, {"network": {"flag": flag, "rate": rate}}, 0, 1)
        assert known.epochs[0].metrics == {"x": x}


CURVES = """\
seed,arch,epoch,val_accuracy,params,seconds
9,A,2,0.92,5,3
9,A,1,0.91,5,2
1,A,1,0.11,5,4
1,A,2,0.12,5,6
1,A,4,0.14,5,1
2,B1,1,0.2,6,1
"""


def test_epochs_make_curves_and_the_seed_says_which(tmp_path: Path) -> None:
    table = Table(file(tmp_path, CURVES))
    assert tuple(table.epochs(TOY) or ()) == (1, 2, 4)

    def curve(name: str, seed: int, epochs: int) -> list[tuple[int, float, float | None]]:
        known = table.look_up(TOY, toy(name), seed, epochs)
        return [(each.number, each.metrics["val_accuracy"], each.seconds) for each in known.epochs]

    assert curve("A", 0, 2) == curve("A", 4, 2) == [(1, 0.11, 4), (2, 0.12, 6)]
    assert curve("A", 1, 2) == curve("A", 7, 2) == [(1, 0.91, 2), (2, 0.92, 3)]
    assert curve("A", 0, 4) == [(1, 0.11, 4), (2, 0.12, 6), (4, 0.14, 1)]
    assert curve("B1", 12, 1) == curve("B1", 13, 1) == [(1, 0.2, 1)]
    with pytest.raises(Infeasible, match="has no epoch 4 of A"):
        table.look_up(TOY, toy("A"), 1, 4)


def test_lists_hold_repeated_trainings(tmp_path: Path) -> None:
    table = Table(file(tmp_path, json.dumps({"A": {"test_acc": [1, 2, 3], "score": 7}})))
    for seed in range(7):
        assert table.look_up(TOY, toy("A"), seed, 1).epochs[0].metrics == {"test_acc": seed % 3 + 1.0, "score": 7.0}


def test_an_empty_cell_is_not_known_and_nan_is(tmp_path: Path) -> None:
    table = Table(file(tmp_path, "arch,a,b\nA,,nan\n"))
    figures = table.look_up(TOY, toy("A"), 0, 1).epochs[0].metrics
    assert figures.keys() == {"b"} and math.isnan(figures["b"])


def test_a_file_is_read_again_only_when_it_changes(tmp_path: Path) -> None:
    path = file(tmp_path, by_notation())
    table = Table(path)
    assert table._file is Table(path)._file and table._index(TOY) is Table(path)._index(TOY)
    file(tmp_path, "arch,x\nA,1\n")
    os.utime(path, ns=(1, 1))
    assert Table(path).content == hashlib.sha256(b"arch,x\nA,1\n").hexdigest()


MALFORMED = {
    "no row": ("arch,x\n", "has no rows"),
    "empty": ("", "has no rows"),
    "short row": ("arch,x\nA,1\nB1\n", "line 3: it has 1 cells, but there are 2 columns"),
    "a column twice": ("arch,x,x\nA,1,1\n", "line 1: column 'x' has no name of its own: rename it"),
    "a text": ("arch,x\nA,1\nB1,good\n", "line 3: x is 'good', but a number is asked: mend it, or take the column out"),
    "an unknown name": ("arch,x\nA,1\nC,1\n", "line 3: 'C' is no toy; mend the row, or give the --space"),
    "an empty name": ("arch,x\n,1\n", "line 2: arch is empty"),
    "no naming": ("x,y\n1,2\n", "has no column architecture, arch, notation, key, nor one for the decisions of toy"),
    "twice": ("arch,x\nA,1\nA,2\n", "line 3: its architecture is there already: tell them apart by 'seed'"),
    "twice in a seed": ("arch,seed,epoch,x\nA,1,2,1\nA,1,2,2\n", "architecture with seed 1 after epoch 2 is there"),
    "epoch 0": ("arch,epoch,x\nA,0,1\n", "line 2: epoch is '0', but a whole number from 1 up is asked; mend it"),
    "half a seed": ("arch,seed,x\nA,0.5,1\n", "line 2: seed is '0.5', but a whole number is asked;"),
    "negative seconds": ("arch,seconds\nA,-1\n", "line 2: seconds is -1, but a number from 0 up is asked"),
    "a clock": ("arch,clock\nA,1\n", "has a column 'clock', which is that of the simulation: rename it"),
    "bad JSON": ('{"A": {"x": 1}', "is not JSON"),
    "no object": ('[{"arch": "A"}, 3]', "row 2: it is 3, but an object of columns is asked"),
    "lists of two lengths": ('{"A": {"x": [1, 2], "y": [1]}}', r"key 'A': its lists hold \[1, 2\] results"),
    "bad architecture": ('{"A": {"x": 1}, "B9": {"x": 1}}', "key 'B9': 'B9' is no toy"),
    "a wrong value": (
        "network.kind,network.kind:B.size,x\nB,4,1\n",
        "line 2: network.kind:B.size is 4, but an integer",
    ),
    "no value": ("network.kind,network.kind:B.size,x\nB,,1\n", "line 2: network.kind:B.size has no value"),
    "a dead value": (
        "network.kind,network.kind:B.size,x\nA,2,1\n",
        "line 2: network.kind:B.size is '2', but it is not",
    ),
    "a bad gzip": (gzip.compress(b"arch,x\nA,1\n")[:-9], "is a damaged gzip file"),
    "no text": (b"arch,x\n\xff,1\n", "is not text in UTF-8: byte 7"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_table_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    text, message = MALFORMED[case]
    path = file(tmp_path, text)
    with pytest.raises(UserError, match=message) as caught:
        Table(path).metrics(TOY)
    assert path in str(caught.value) and "\n" not in str(caught.value)


def test_tasks_have_a_word_after_the_colon_or_not(tmp_path: Path) -> None:
    path = file(tmp_path, by_notation())
    assert find_lookup("digits") is None and find_lookup(f"table:{path}") is not None
    assert find_content(f"table:{path}") == hashlib.sha256(by_notation().encode()).hexdigest()
    assert find_content("digits", 3) == find_task("digits", 3).content
    for name, message in {
        "digits:5": "digits takes no argument: write digits",
        "digits:": "digits takes no argument: write digits",
        "table": "write it as table:PATH",
        "table:": "write it as table:PATH",
        "function": "write it as function:MODULE:NAME",
        "function:math": "write it as function:MODULE:NAME",
        "function:math:rood": "math has no function rood",
        "function:math:pi": "math has no function pi",
        "function:no_such_module:f": "cannot be imported: No module named 'no_such_module'",
        "table:nowhere.csv": "table nowhere.csv cannot be opened: No such file or directory",
        f"table:{tmp_path}": "cannot be read: Is a directory",
        "table:cifar": r"'cifar' is none of the package's own \(digits_bench\): write a file as ./cifar",
    }.items():
        with pytest.raises(TaskError, match=message):
            find_lookup(name)
    with pytest.raises(TaskError, match="has no samples, because its results are looked up"):
        find_task(f"table:{path}")


def test_a_column_is_an_objective() -> None:
    least, most = objective("min:edgegpu_latency"), objective("max:score:v2")
    assert (least.name, least.metric, least.loss(3)) == ("min:edgegpu_latency", "edgegpu_latency", 3)
    assert (most.name, most.metric, most.loss(3)) == ("max:score:v2", "score:v2", -3)


@pytest.mark.parametrize("column", ["test_accuracy", "test", "Test_loss"])
def test_test_data_is_never_an_objective(column: str) -> None:
    with pytest.raises(UserError, match="a search never sees test data: choose a column that does not begin"):
        objective(f"max:{column}")


def test_what_a_function_returns_is_known() -> None:
    wide = Function(lambda architecture: {"val_accuracy": 1, "params": 3, "seconds": 2.5})
    assert wide.look_up(TOY, toy("A"), 0, 4) == Known(
        {"params": 3.0}, (Epoch(4, {"val_accuracy": 1.0, "seconds": 2.5}, 2.5),)
    )
    deep = Function(lambda architecture: [{"loss": epoch, "params": 3} for epoch in (5, 4, 3)])
    assert deep.look_up(TOY, toy("A"), 0, 2) == Known(
        {"params": 3.0}, (Epoch(1, {"loss": 5.0}), Epoch(2, {"loss": 4.0}))
    )


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (0.9, "returned float, but a dictionary of metrics"),
        ([1], "returned a list of int, but dictionaries are asked"),
        ([{"x": 1}], "returned 1 epochs, but 2 are asked"),
        ({"x": "high"}, "returned x 'high', but a number is asked"),
        ({"seconds": -1}, "returned -1 seconds"),
    ],
)
def test_what_a_function_must_not_return(returned: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        Function(lambda architecture: returned).look_up(TOY, toy("A"), 0, 2)


def test_a_function_is_imported_from_here_and_known_by_its_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine_one.py").write_text("def score(architecture):\n    return {'x': 1}\n")
    (tmp_path / "mine_two.py").write_text("def score(architecture):\n    return {'x': 2}\n")
    before = list(sys.path)
    one, two = find_lookup("function:mine_one:score"), find_lookup("function:mine_two:score")
    assert one is not None and two is not None and sys.path == before
    assert one.look_up(TOY, toy("A"), 0, 1).epochs[0].metrics == {"x": 1.0}
    assert len({one.content, two.content}) == 2


def published(name: str) -> str:
    folder = Path(os.environ.get("NAS_TABLES", Path(__file__).parents[3] / "shared" / "data"))
    if not (folder / name).exists():
        pytest.skip(f"{name} is not at hand: NAS_TABLES names the folder of tables")
    return f"table:{folder / name}"


def test_the_published_cells_load_as_they_are() -> None:
    name, space = published("nasbench201_cifar10.csv.gz"), find_space("nasbench201")
    task = find_lookup(name)
    assert isinstance(task, Table)
    runs = task._index(space).runs
    best = max(runs.values(), key=lambda curves: curves[0][1]["val_accuracy"])[0][1]
    assert len(runs) == 15625 and max(curves[0][1]["test_accuracy"] for curves in runs.values()) == pytest.approx(
        94.373, abs=5e-4
    )
    assert best["test_accuracy"] == pytest.approx(94.30, abs=0.005)
    trials = simulate(
        Settings(space=space.name, task=name, objectives=("accuracy", "params"), trials=30, strategy="random")
    )
    assert all(0 < trial.values["accuracy"] < 100 and "test_accuracy" in trial.metrics for trial in trials)


def test_the_published_networks_load_as_they_are() -> None:
    name = published("nasbench_macro_cifar10.json.gz")
    settings = Settings(
        space="nasbench_macro", task=name, objectives=("max:mean_acc", "flops"), trials=40, strategy="random"
    )
    found = {tuple(t.architecture["network"]["layers"]): t for t in simulate(settings)}
    raw = json.loads(gzip.decompress(Path(name.partition(":")[2]).read_bytes()))
    digit = {"identity": "0", "mb3": "1", "mb6": "2"}
    for layers, trial in found.items():
        row = raw["".join(digit[kind] for kind in layers)]
        assert trial.values == {"max:mean_acc": row["mean_acc"], "flops": row["flops"]}
        assert trial.metrics["test_acc"] in row["test_acc"]


SHIPPED = Path(__file__).parents[2] / "nas" / "data" / "digits_bench.csv.gz"


def shipped() -> list[dict[str, str]]:
    with gzip.open(SHIPPED, "rt") as lines:
        return list(csv.DictReader(lines))


def test_the_shipped_table_has_all_of_its_space() -> None:
    space, table = find_space("digits_bench"), find_lookup("table:digits_bench")
    assert isinstance(table, Table) and SHIPPED.stat().st_size < 200_000
    runs = table._index(space).runs
    assert len(runs) == space.size() == 576
    assert all(len(curves) == 2 and all(list(curve) == [1, 2, 3, 4, 5] for curve in curves) for curves in runs.values())
    assert all(int(row["params"]) < 10_000 for row in shipped())


def test_the_shipped_table_is_what_trainings_give() -> None:
    path = SHIPPED.parents[2] / "benchmarks" / "digits_table.py"
    spec = importlib.util.spec_from_file_location("digits_table", path)
    assert spec is not None and spec.loader is not None
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    whole = shipped()
    for start in (5 * 100, 5 * 1001):
        rows = whole[start : start + 5]
        paths = [name for name in rows[0] if name.startswith("network.")]
        trace = {name: int(rows[0][name]) if rows[0][name].isdecimal() else rows[0][name] for name in paths}
        made = maker.trained("digits_bench", trace, int(rows[0]["seed"]))
        for ours, theirs in zip(rows, made, strict=True):
            assert {name: str(theirs[name]) for name in (*paths, "seed", "epoch", "params", "flops")} == {
                name: ours[name] for name in (*paths, "seed", "epoch", "params", "flops")
            }
            for name in ("train_loss", "val_loss", "val_accuracy", "test_accuracy"):
                assert float(theirs[name]) == pytest.approx(float(ours[name]), rel=0.02, abs=0.006), name
