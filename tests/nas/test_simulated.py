"""Searches on a virtual clock: order and times of events, determinism, resume, and what does not go together."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fake_runs import TWELVE, Crash, crashing_at, facts, register, reopen

import nas
from nas.checking import check, check_executor
from nas.errors import UserError
from nas.execution import Event, Problem
from nas.execution.simulated import VirtualWorkers, read_seconds
from nas.job import Infeasible, Job, Outcome, Report, ScoreJob
from nas.objectives import Constraint
from nas.schedules import Verdict
from nas.settings import Settings, SettingsError
from nas.simulation import Simulated, simulate
from nas.store import State, Store, queries
from nas.strategies import Finder, make_strategy
from nas.study import Study, executor_of
from nas.tasks import find_lookup
from nas.tasks.function import Function
from search_spaces import registry
from search_spaces.registry import Entry, entries
from search_spaces.space import find_space

TABLE = "table:digits_bench"
SPACE = find_space("digits_bench")
SHIPPED = Path(nas.__file__).parent / "data" / "digits_bench.csv.gz"


def settings(**fields: Any) -> Settings:
    usual = {"space": "digits_bench", "task": TABLE, "epochs": 5, "strategy": "random", "trials": 20}
    return Settings(**usual | fields)


def started(folder: Path, **fields: Any) -> Study:
    folder.mkdir(exist_ok=True)
    return Study.create(Store.open(f"sqlite:///{folder}/nas.db", create=True), settings(**fields), "one")


def virtual(function: Callable[[Any], Any], workers: int, seconds: Any = None) -> VirtualWorkers:
    return VirtualWorkers(Function(function), TWELVE, workers, seconds)


def job(number: int, seconds: float = 1.0, pauses: set[int] = frozenset(), **fields: Any) -> Job:  # type: ignore[assignment]
    usual: dict[str, Any] = {"objectives": ("accuracy",), "epochs": 2, "seed": number}
    return Job(number, 1, {"seconds": seconds}, pauses=frozenset(pauses), **usual | fields)


def twice(architecture: Any) -> Any:
    """Two epochs, each of the seconds that the architecture says."""
    return [{"val_accuracy": 0.5, "seconds": architecture["seconds"]} for _ in range(2)]


def told(executor: VirtualWorkers, count: int) -> list[tuple[float, str, Any]]:
    """Collect so many answers as (clock, worker, step or kind) of each event."""
    found = []
    for _ in range(count):
        for event in executor.events(0):
            what = event.what.step if isinstance(event.what, Report) else type(event.what).__name__
            found.append((executor.clock, event.worker[-1], what))
    return found


def test_events_come_in_virtual_time_and_ties_in_the_order_of_the_jobs() -> None:
    executor = virtual(twice, 3)
    for worker, seconds in zip(executor.workers, (3, 2, 3), strict=True):
        executor.submit(worker, job(int(worker[-1]), seconds))
    assert told(executor, 5) == [(0, "0", 0), (0, "1", 0), (0, "2", 0), (2, "1", 1), (3, "0", 1)]
    assert told(executor, 2) == [(3, "2", 1), (4, "1", 2), (4, "1", "Outcome")]
    executor.submit(executor.workers[1], job(3, 1))
    assert told(executor, 2) == [(4, "1", 0), (5, "1", 1)]
    assert told(executor, 3) == [
        (6, "0", 2),
        (6, "0", "Outcome"),
        (6, "2", 2),
        (6, "2", "Outcome"),
        (6, "1", 2),
        (6, "1", "Outcome"),
    ]
    assert executor.events(0) == [] and executor.device_of("virtual-0") == "simulated"


def test_reports_carry_the_clock() -> None:
    executor = virtual(twice, 1)
    executor.submit("virtual-0", job(0, 0.25))
    events = [event.what for _ in range(3) for event in executor.events(0)]
    assert [each.metrics["clock"] for each in events[:3] if isinstance(each, Report)] == [0, 0.25, 0.5]
    assert events[3] == Outcome({"accuracy": 0.5})


def test_a_paused_worker_waits_and_goes_on_from_the_answer() -> None:
    executor = virtual(twice, 2)
    executor.submit("virtual-0", job(0, 1, pauses={1}))
    executor.submit("virtual-1", job(1, 5))
    assert told(executor, 5) == [(0, "0", 0), (0, "1", 0), (1, "0", 1), (5, "1", 1), (10, "1", 2), (10, "1", "Outcome")]
    executor.answer("virtual-0", Verdict.CONTINUE)
    assert told(executor, 1) == [(11, "0", 2), (11, "0", "Outcome")]


def test_a_stopped_worker_is_free() -> None:
    executor = virtual(twice, 1)
    executor.submit("virtual-0", job(0, 4, pauses={1}))
    told(executor, 2)
    executor.answer("virtual-0", Verdict.STOP)
    assert executor.events(0) == []
    executor.submit("virtual-0", job(1, 1))
    assert told(executor, 2) == [(4, "0", 0), (5, "0", 1)]


def duration(executor: VirtualWorkers, number: int) -> float:
    begin = executor.clock
    executor.submit("virtual-0", job(number))
    told(executor, 3)
    return executor.clock - begin


def test_seconds_are_given_drawn_or_those_of_the_results() -> None:
    plain = lambda architecture: [{"val_accuracy": 0.5}] * 2  # noqa: E731
    assert duration(virtual(plain, 1), 3) == 1.0
    assert duration(virtual(plain, 1, 3.0), 3) == 3.0 and duration(virtual(twice, 1, 3.0), 3) == 3.0
    drawn = [duration(virtual(plain, 1, (2.0, 9.0)), number) for number in (*range(50), 7)]
    assert all(2 <= each <= 9 for each in drawn) and max(drawn) > 8 and min(drawn) < 3
    assert len(set(drawn)) == 50 and drawn[-1] == drawn[7]


@pytest.mark.parametrize("text", ["", "x", "-1", "5:1", "1:2:3", "nan", "inf", "1:"])
def test_seconds_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"--trial-seconds .* does not parse: write seconds from 0 up"):
        read_seconds(text)


def test_seconds_are_read() -> None:
    assert (read_seconds(None), read_seconds("2"), read_seconds("1:5.5")) == (None, 2.0, (1.0, 5.5))


@pytest.mark.parametrize("workers", [1, 5])
def test_the_same_study_twice_is_the_same(tmp_path: Path, workers: int) -> None:
    found = []
    for name in ("a", "b"):
        study = started(tmp_path / name, strategy="tpe", schedule="asha", trials=40)
        study.run(executor_of(study, workers=workers, seconds=(1.0, 9.0)))
        found.append(facts(study))
    assert found[0] == found[1] and len(found[0]["trials"]) == 40


def in_store(study: Study) -> list[Simulated]:
    found = []
    for row in study.trials():
        curves = queries.curves(study.store, row.id)
        metrics = {name: curve[-1][1] for name, curve in curves.items()} | built(study, row.id)
        clock = metrics.pop("clock")
        found.append(Simulated(row.number, row.architecture, row.state, row.values, metrics, clock))
    return found


def built(study: Study, row: int) -> dict[str, float]:
    return {
        name: value
        for (trial, _), each in queries.metrics_at(
            study.store, study.row.id, {0}, ["params", "flops", "memory"]
        ).items()
        for name, value in each.items()
        if trial == row
    }


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("schedule", ["none", "asha"])
def test_a_simulation_is_the_study_without_its_store(tmp_path: Path, schedule: str, workers: int) -> None:
    study = started(tmp_path, strategy="nsga2", schedule=schedule, trials=30)
    study.run(executor_of(study, workers=workers))
    assert simulate(study.settings, workers) == in_store(study)


NAMES = sorted(entries("strategy"))


def trains_supernets(name: str) -> bool:
    try:
        return isinstance(make_strategy(name, SPACE, 1, 0), Finder)
    except SettingsError:
        return True


class Finds:
    """A strategy that sends supernets to workers."""

    plan = "everything is shared"

    def __init__(self, space: Any, objectives: int, seed: int) -> None: ...
    def ask(self, turn: int) -> Any: ...
    def remember(self, proposal: Any) -> None: ...
    def tell(self, turn: int, losses: Any, *, feasible: bool = True) -> None: ...
    def found(self, turn: int, architectures: Any) -> None: ...


def test_what_trains_a_supernet_cannot_be_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._entries["strategy"], "finds", Entry("strategy", "finds", Finds, ""))
    with pytest.raises(SettingsError, match=f"strategy 'finds' trains a supernet, but the results of {TABLE} are"):
        check(settings(strategy="finds"))


@pytest.mark.parametrize("schedule", sorted(entries("schedule")))
@pytest.mark.parametrize("strategy", NAMES)
def test_all_strategies_and_schedules_run(strategy: str, schedule: str) -> None:
    asked = settings(strategy=strategy, schedule=schedule, objectives=("accuracy",), trials=14)
    lacks = entries("strategy")[strategy].lacks
    if trains_supernets(strategy):
        with pytest.raises(SettingsError):
            simulate(asked, 3)
    elif schedule in ("pbt", "pb2"):
        with pytest.raises(SettingsError, match="digits_bench"):
            simulate(asked, 3)
    elif schedule != "none" and "schedules" in lacks:
        with pytest.raises(SettingsError, match="does not do schedules"):
            simulate(asked, 3)
    else:
        trials = simulate(asked, 1 if "parallel asks" in lacks else 3)
        assert [trial.number for trial in trials] == list(range(14))
        assert {trial.state for trial in trials} <= {State.COMPLETED, State.STOPPED}
        assert all(trial.values["accuracy"] > 0 for trial in trials)


def table_rows() -> dict[tuple[str, ...], list[dict[str, str]]]:
    with gzip.open(SHIPPED, "rt") as lines:
        found: dict[tuple[str, ...], list[dict[str, str]]] = {}
        for row in csv.DictReader(lines):
            key = tuple(value for name, value in row.items() if name.startswith("network."))
            found.setdefault(key, []).append(row)
    return found


def test_asha_stops_early_and_results_are_those_of_the_curve() -> None:
    trials = simulate(settings(schedule="asha", objectives=("accuracy",), trials=60))
    rows, reached = table_rows(), list[float]()
    for trial in trials:
        stage = trial.architecture["network"]["stages"][0]
        names = ("depth", "width", "layer", "norm", "activation", "wiring")
        of_it = rows[tuple(str(stage[name]) for name in names)]
        run = next(row["seed"] for row in of_it if float(row["val_loss"]) == trial.metrics["val_loss"])
        curve = [float(row["val_accuracy"]) for row in of_it if row["seed"] == run]
        reached.append(curve[0])
        better = sum(each > curve[0] for each in reached)
        goes_on = len(reached) < 3 or better < len(reached) // 3
        assert trial.state is (State.COMPLETED if goes_on else State.STOPPED)
        assert trial.values == {"accuracy": curve[-1] if goes_on else curve[0]}
    assert {State.COMPLETED, State.STOPPED} == {trial.state for trial in trials}


class Spied(VirtualWorkers):
    """Virtual workers that end the driver at a certain call."""

    spy: Callable[[str, Any], None] = staticmethod(lambda call, what: None)

    def submit(self, worker: str, job: Any) -> None:
        self.spy("submit", job)
        super().submit(worker, job)

    def events(self, timeout: float) -> list[Event]:
        events = super().events(timeout)
        self.spy("events", events)
        return events

    def answer(self, worker: str, verdict: Verdict) -> None:
        self.spy("answer", verdict)
        super().answer(worker, verdict)


def run_with(study: Study, spy: Callable[[str, Any], None]) -> None:
    lookup = find_lookup(study.settings.task)
    assert lookup is not None
    executor = Spied(lookup, SPACE, 3, (1.0, 4.0))
    executor.spy = spy  # type: ignore[method-assign]
    study.run(executor)


def with_scores(folder: Path) -> str:
    """Write the shipped table with the scores of a predictor, which grow with the flops."""
    head, *lines = gzip.decompress(SHIPPED.read_bytes()).decode().splitlines()
    flops = head.split(",").index("flops")
    text = "\n".join([f"{head},gradsign", *(f"{line},{line.split(',')[flops]}" for line in lines)])
    (folder / "scored.csv").write_text(text)
    return f"table:{folder / 'scored.csv'}"


@pytest.mark.parametrize(
    ("strategy", "screen", "schedule"),
    [("tpe", None, "asha"), ("nsga2", None, "hyperband"), ("nsga2", "gradsign:3", "asha")],
)
def test_a_killed_study_goes_on_to_the_same_end(
    tmp_path: Path, strategy: str, screen: str | None, schedule: str
) -> None:
    asked = {"strategy": strategy, "screen": screen, "schedule": schedule, "trials": 10, "task": with_scores(tmp_path)}
    calls: list[str] = []
    whole = started(tmp_path / "whole", **asked)
    run_with(whole, lambda call, what: calls.append(call))
    expected = facts(whole)
    for moment in range(1, len(calls), 5):
        study = started(tmp_path / str(moment), **asked)
        with pytest.raises(Crash):
            run_with(study, crashing_at(moment))
        study = reopen(study)
        with suppress(Crash):
            run_with(study, crashing_at(4))
        study = reopen(study)
        study.run(executor_of(study))
        assert facts(study) == expected, moment


def test_a_study_whose_table_has_changed_does_not_go_on(tmp_path: Path) -> None:
    file = tmp_path / "own.csv"
    file.write_bytes(gzip.decompress(SHIPPED.read_bytes()))
    study = started(tmp_path / "s", task=f"table:{file}", trials=2)
    study.run(executor_of(study))
    study.extend(4)
    file.write_bytes(file.read_bytes().replace(b"0.716667", b"0.716668"))
    with pytest.raises(UserError, match=r"own.csv has changed since study 'one' began: start a new study"):
        study.run(executor_of(study))


def test_more_trials_go_on_with_the_workers_and_the_clock_that_there_were(tmp_path: Path) -> None:
    study = started(tmp_path, trials=10, objectives=("accuracy",))
    study.run(executor_of(study, workers=2, seconds=3.0))
    study.extend(13)
    executor = executor_of(study)
    study.run(executor)
    assert len(executor.workers) == 2
    # 10 trials of 3 s on 2 workers end at 15 s; of three more, two end 3 s later and one 6 s.
    assert [each.clock for each in in_store(study)[8:]] == pytest.approx([15, 15, 18, 18, 21])


def test_what_breaks_a_constraint_is_not_trained(tmp_path: Path) -> None:
    study = started(tmp_path, constraints=("params<=1500",), trials=40)
    study.run(executor_of(study, seconds=2.0))
    trials = in_store(study)
    beyond = {trial.number for trial in trials if trial.metrics["params"] > 1500}
    assert beyond and {t.number for t in trials if t.state is State.INFEASIBLE} == beyond
    assert all(set(trials[i].metrics) == {"params", "flops", "memory"} for i in beyond)
    assert study.trial(min(beyond)).reason == f"params {trials[min(beyond)].metrics['params']:,.0f} breaks params<=1500"
    assert trials[-1].clock == pytest.approx(2.0 * (40 - len(beyond)))


def table(folder: Path, **columns: list[Any]) -> str:
    """Write a table of a, b, c and two=1 of the space `twelve` with further columns."""
    rows = [
        {"architecture": {"network": {"one": one, "two": 1}}} | {name: values[i] for name, values in columns.items()}
        for i, one in enumerate("abc")
    ]
    (folder / "t.json").write_text(json.dumps(rows))
    return f"table:{folder / 't.json'}"


@pytest.fixture
def twelve(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TWELVE)


def few(folder: Path, columns: dict[str, list[Any]], **fields: Any) -> Settings:
    usual: dict[str, Any] = {"space": "twelve", "task": table(folder, **columns), "epochs": 1, "strategy": "random"}
    return Settings(**usual | {"objectives": ("accuracy",), "trials": 12} | fields)


def test_what_a_table_does_not_have_cannot_be(twelve: None, tmp_path: Path) -> None:
    trials = simulate(few(tmp_path, {"val_accuracy": [0.1, float("nan"), None]}))
    states = {trial.architecture["network"]["one"]: trial.state for trial in trials if two(trial) == 1}
    assert states == {"a": State.COMPLETED, "b": State.INFEASIBLE, "c": State.INFEASIBLE}
    assert {trial.state for trial in trials if two(trial) > 1} == {State.INFEASIBLE}


def two(trial: Simulated) -> int:
    return int(trial.architecture["network"]["two"])


def test_test_columns_are_kept_beside_the_search(twelve: None, tmp_path: Path) -> None:
    trials = simulate(few(tmp_path, {"score": [1, 2, 3], "test_score": [7, 8, 9]}, objectives=("max:score",)))
    known = {trial.values["max:score"]: trial.metrics["test_score"] for trial in trials if two(trial) == 1}
    assert known == {1: 7, 2: 8, 3: 9}


def test_a_cheap_column_is_an_objective_by_either_name(twelve: None, tmp_path: Path) -> None:
    asked = few(tmp_path, {"params": [5, 6, 7]}, objectives=("params", "min:params", "max:params"))
    known = {tuple(trial.values.values()) for trial in simulate(asked) if two(trial) == 1}
    assert known == {(5, 5, 5), (6, 6, 6), (7, 7, 7)}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no column": ({"objectives": ("loss",)}, "--objective loss needs a column val_loss, which table:.* has not: "),
    "no column of a name": ({"objectives": ("max:gain",)}, "needs a column gain, .* with one of val_accuracy, params"),
    "no column to bound": ({"constraints": ("flops<=3",)}, "--constraint flops<=3 needs a column flops"),
    "no curve": ({"schedule": "asha", "epochs": 9}, "--schedule asha stops trials early, but .* has no column epoch"),
    "another space": ({"space": "digits_bench"}, "row 1: network must be an object|row 1: .*--space"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_a_table_cannot_answer_is_refused(twelve: None, tmp_path: Path, case: str) -> None:
    fields, message = BAD[case]
    columns = {"val_accuracy": [0.1, 0.2, 0.3], "test_accuracy": [4, 4, 4], "params": [1, 2, 3]}
    with pytest.raises(UserError, match=message) as caught:
        check(few(tmp_path, columns, **fields))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 8}, "--epochs 8 is not known, because table:digits_bench has the epochs 1 to 5"),
        ({"task": "digits", "objectives": ("min:params",)}, "reads a column of a table, but task digits trains"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check(settings(**{"objectives": ("accuracy",)} | fields))


@pytest.mark.parametrize(
    ("task", "options", "message"),
    [
        (
            TABLE,
            {"kind": "ray"},
            "--executor ray trains, but table:digits_bench is looked up: use --executor simulated",
        ),
        (TABLE, {"kind": "inline"}, "--executor inline trains, but table:digits_bench is looked up"),
        (TABLE, {"workers": 0}, "--workers 0 is not allowed"),
        ("digits", {"kind": "simulated"}, "--executor simulated looks results up, but task digits trains"),
        ("digits", {"seconds": 2.0}, "--trial-seconds are virtual, but task digits trains in real time"),
        ("digits", {"kind": "inline", "workers": 2}, "--executor inline has one worker, but --workers is 2"),
        ("digits", {"kind": "rya"}, "--executor 'rya' is not known: choose one of auto, inline, ray, simulated"),
    ],
)
def test_executors_that_do_not_go_together_are_refused(task: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        check_executor(task, **options)


def test_a_table_leaves_nothing_to_confirm_or_export(tmp_path: Path) -> None:
    study = started(tmp_path, trials=2)
    study.run(executor_of(study))
    with pytest.raises(
        UserError, match=r"`nas confirm` needs trained networks, .* left no weights: search with a task"
    ):
        study.confirm(executor_of(study))
    with pytest.raises(UserError, match="`nas export` needs trained networks"):
        study.export(0, tmp_path / "out")


@pytest.mark.parametrize("column", ["gradsign", "other"])
def test_predictors_are_columns(twelve: None, tmp_path: Path, column: str) -> None:
    name = table(tmp_path, **{"val_accuracy": [1, 2, 3], "params": [1, 2, 3], column: [5, 9, 7]})
    lookup = find_lookup(name)
    assert lookup is not None
    executor = VirtualWorkers(lookup, TWELVE)
    proposals = tuple({"network": {"one": one, "two": 1 + (one == "x")}} for one in "abcx")
    limit = Constraint.parse("params<=2")
    executor.submit("virtual-0", ScoreJob(("gradsign",), proposals, 0, "twelve", name, 0, (limit,)))
    [event] = executor.events(0)
    assert isinstance(event.what, list)
    absent = f"{name} has no column gradsign"
    values = [5, 9, None, None] if column == "gradsign" else [None] * 4
    assert [each.values for each in event.what] == [{"gradsign": value} for value in values]
    reasons = [each.reason for each in event.what]
    assert reasons[:3] == [*([None] * 2 if column == "gradsign" else [absent] * 2), "params 3 breaks params<=2"]
    assert "has no row for" in str(reasons[3])


def test_a_function_is_searched(twelve: None) -> None:
    def score(architecture: Any) -> dict[str, float]:
        if architecture["network"]["one"] == "b":
            raise Infeasible("b is not to be")
        if architecture["network"]["one"] == "c":
            raise KeyError("c")
        return {"score": architecture["network"]["two"], "seconds": 2}

    asked = Settings(space="twelve", objectives=("max:score",), strategy="random", trials=12, epochs=1)
    trials = simulate(asked, task=Function(score))
    ends = {"a": State.COMPLETED, "b": State.INFEASIBLE, "c": State.FAILED}
    assert len(trials) == 12 and all(trial.state is ends[trial.architecture["network"]["one"]] for trial in trials)
    assert {trial.values["max:score"] for trial in trials if trial.values} == {1, 2, 3, 4}
    assert trials[-1].clock == 2 * 4


@pytest.mark.parametrize(
    ("returned", "pauses", "message"),
    [
        ({"x": 1.0}, set(), "has no val_accuracy of this architecture, but x"),
        ({"val_accuracy": float("inf")}, set(), "val_accuracy of epoch 2 is inf"),
        ({"val_accuracy": 0.5}, {1}, "says nothing of epoch 1, after which trials are judged: use --schedule none"),
    ],
)
def test_a_function_must_say_what_is_asked(returned: Any, pauses: set[int], message: str) -> None:
    executor = virtual(lambda architecture: returned, 1)
    executor.submit("virtual-0", job(0, pauses=pauses))
    problem = [event for _ in range(3) for event in executor.events(0)][-1].what
    assert isinstance(problem, Problem) and message in problem.reason


def test_python_searches_a_table_with_its_own_epochs(tmp_path: Path) -> None:
    study = nas.search(
        "digits_bench", TABLE, store=f"sqlite:///{tmp_path}/nas.db", workers=8, trials=16, strategy="random"
    )
    assert study.settings.epochs == 5 and {row.state for row in study} == {State.COMPLETED}
