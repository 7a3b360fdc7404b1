"""The loop of a study, with evaluations that train nothing and executors that err when they are told to."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
import sqlalchemy as sa
from fake_runs import (
    TWELVE,
    WIDE,
    Crash,
    Fake,
    Losing,
    crashing_at,
    evaluate,
    facts,
    kinds,
    register,
    reopen,
    start,
)
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tiny_space import TINY

from nas.execution import Event
from nas.execution.inline import Inline
from nas.job import Artifact, Evaluation, Infeasible, Job, Outcome, Report, ScoreJob
from nas.progress import Progress
from nas.schedules import Verdict
from nas.settings import Settings, SettingsError
from nas.store import State, Store, StoreError, queries
from nas.store.queries import Page
from nas.study import Study, make_executor
from nas.tasks.digits import Digits
from search_spaces.decisions import Integer, Struct, canonical, identity
from search_spaces.space import Space

run = partial(Study.run, content="content")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE, TWELVE, TINY)


def states(study: Study) -> list[State]:
    return [row.state for row in study.trials(Page(kind=None))]


def test_a_completed_trial_has_its_values_its_curve_and_one_attempt(tmp_path: Path) -> None:
    study = start(tmp_path, trials=3)
    progress = run(study, Fake())
    for row in study:
        expected = list(evaluate(Job(row.number, 1, row.architecture, row.seed, epochs=3)))
        assert row.state is State.COMPLETED and row.reason is None and row.ended is not None and row.step == 3
        assert row.values == {"accuracy": expected[-1].metrics["val_accuracy"], "params": expected[0].metrics["params"]}
        curve = queries.curves(study.store, row.id)["val_accuracy"]
        assert curve == [(report.step, report.metrics["val_accuracy"]) for report in expected[1:]]
        [attempt] = queries.attempts(study.store, row.id)
        assert (attempt.number, attempt.worker, attempt.device, attempt.error) == (1, "fake-0", "cpu", None)
        assert attempt.started <= attempt.ended
    assert progress.counts == {State.COMPLETED: 3} and progress.done == progress.total == 3
    accuracy = max((row.values["accuracy"], row.number) for row in study)
    assert progress.best["accuracy"] == accuracy and progress.running == {}


class Odd(Exception):
    """An error with an unusual text."""


ERRORS: list[BaseException] = [
    SystemExit("a trial may not end the search"),
    ValueError("shapes do not fit\nsecond line"),
    Odd(),
    RuntimeError("   \n\n"),
    KeyError("x" * 2000),
    AssertionError("ß \x00 💥"),
    StopIteration(7),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
]


@pytest.mark.parametrize("at", [0, 1, 3])
def test_a_failing_trial_never_ends_a_search(tmp_path: Path, at: int) -> None:
    def failing(job: Job) -> Evaluation:
        steps = evaluate(job)
        for step in range(5):
            if step == at and job.trial % 2 == 0:
                raise ERRORS[job.trial // 2 % len(ERRORS)]
            try:
                report = next(steps)
            except StopIteration as end:
                return end.value
            yield report
        raise AssertionError("an outcome comes before")

    study = start(tmp_path, trials=2 * len(ERRORS), schedule="asha" if at < 3 else "none")
    progress = run(study, Fake(failing))
    assert progress.done == 2 * len(ERRORS) and progress.counts[State.FAILED] == len(ERRORS)
    for row in study:
        [attempt] = queries.attempts(study.store, row.id)
        if row.number % 2 == 0:
            error = ERRORS[row.number // 2]
            name = "RuntimeError" if isinstance(error, StopIteration) else type(error).__name__
            assert row.state is State.FAILED and row.reason is not None and row.values == {}
            assert row.reason.startswith(name) and "\n" not in row.reason and len(row.reason) <= 500
            assert attempt.error.startswith("Traceback") and "in failing" in attempt.error
        else:
            assert row.state in (State.COMPLETED, State.STOPPED) and attempt.error is None


def test_a_broken_constraint_ends_a_trial_before_its_first_epoch(tmp_path: Path) -> None:
    study = start(tmp_path, trials=20, constraints=("params<=500",))
    run(study, Fake())
    assert {State.COMPLETED, State.INFEASIBLE} == set(states(study))
    for row in study:
        params = queries.curves(study.store, row.id)["params"][0][1]
        assert (row.state is State.INFEASIBLE) == (params > 500) and row.step == (0 if params > 500 else 3)
        assert row.reason == (f"params {params:g} breaks params<=500" if params > 500 else None)


def test_asha_stops_trials_with_the_values_they_had(tmp_path: Path) -> None:
    study = start(tmp_path, trials=15, schedule="asha")
    run(study, Fake())
    stopped = [row for row in study if row.state is State.STOPPED]
    assert len(stopped) >= 5
    for row in stopped:
        curves = queries.curves(study.store, row.id)
        assert row.step == 1 and row.reason == "stopped by asha after epoch 1"
        assert row.values == {"accuracy": curves["val_accuracy"][0][1], "params": curves["params"][0][1]}
    assert list(kinds(study)).count("verdict") == 15


def test_diverging_and_lacking_memory_are_infeasible(tmp_path: Path) -> None:
    def diverging(job: Job) -> Evaluation:
        yield Report(0, {"params": 1.0})
        raise Infeasible("diverged: the training loss of epoch 1 is nan")

    study = start(tmp_path, trials=2)
    run(study, Fake(diverging))
    assert states(study) == [State.INFEASIBLE] * 2
    assert study.trial(0).reason == "diverged: the training loss of epoch 1 is nan"


def test_values_that_are_not_finite_are_the_worst_and_end_nothing(tmp_path: Path) -> None:
    def odd(job: Job) -> Evaluation:
        yield Report(0, {"params": 5.0})
        accuracy = [math.nan, -math.inf, 0.5][job.trial % 3]
        for epoch in range(1, job.epochs + 1):
            yield Report(epoch, {"val_accuracy": accuracy})
        return Outcome({"accuracy": accuracy})

    for strategy in ("random", "tpe", "nsga2", "cmaes"):
        (tmp_path / strategy).mkdir()
        study = start(tmp_path / strategy, trials=40, objectives=("accuracy",), strategy=strategy, schedule="asha")
        run(study, Fake(odd))
        assert len(states(study)) == 40 and all(each.ended for each in states(study))
        assert [row.values["accuracy"] for row in study.leaders(3)] == [0.5] * 3
        assert {row.values["accuracy"] for row in study.front()} == {0.5}
        assert facts(reopen(study))["values"] is not None
        run(reopen(study), Fake(odd))


def test_no_work_is_done_twice_and_a_finite_space_is_exhausted(tmp_path: Path) -> None:
    for strategy in ("random", "tpe", "nsga2", "grid", "qmc", "regularized_evolution", "pareto_evolution"):
        (tmp_path / strategy).mkdir()
        study = start(tmp_path / strategy, trials=50, space="twelve", strategy=strategy)
        fake = Fake()
        progress = run(study, fake)
        trained = Counter(identity(job.architecture) for job in fake.jobs)
        assert set(trained.values()) == {1} and len(trained) == len(study.trials()) <= 12
        assert len(trained) == 12 or strategy not in ("random", "grid", "regularized_evolution", "pareto_evolution")
        assert progress.last == "the space seems exhausted: 200 proposals in a row were known"
        assert list(kinds(study)).count("replayed") >= 200
        again = Fake()
        run(reopen(study), again)
        assert not {identity(job.architecture) for job in again.jobs} & trained.keys()


def test_several_workers_do_no_work_twice_either(tmp_path: Path) -> None:
    study = start(tmp_path, trials=50, space="twelve", strategy="tpe", schedule="asha")
    fake = Fake(count=4)
    run(study, fake)
    assert max(Counter(identity(job.architecture) for job in fake.jobs).values()) == 1
    assert all(state.ended for state in states(study))


@pytest.mark.parametrize("strategy", ["random", "tpe"])
def test_everything_is_in_the_store_before_it_is_acted_on(tmp_path: Path, strategy: str) -> None:
    study = start(tmp_path, trials=25, schedule="asha", strategy=strategy, constraints=("params<=900",))
    other = Store.open(study.store.url)
    seen: list[Event] = []
    checked: Counter[str] = Counter()

    def spy(call: str, what: Any) -> None:
        if call == "event":
            seen.append(what)
            return
        checked[call] += 1
        number = (what if call == "submit" else what[0]).trial
        row = queries.trial(other, queries.study(other, "one"), number)
        history = [(kind, payload) for kind, trial, payload in queries.history(other, study.row.id) if trial == row.id]
        if call == "submit":
            [attempt] = queries.attempts(other, row.id)
            assert row.state is State.RUNNING and attempt.ended is None and row.architecture == what.architecture
            assert [kind for kind, _ in history] == ["asked"] and row.seed == what.seed
        else:
            verdict = what[1]
            told = [payload for kind, payload in history if kind == "verdict"]
            assert [(each["step"], each["verdict"]) for each in told] == [(1, str(verdict))] and row.step == 1
            assert row.state is (State.STOPPED if verdict is Verdict.STOP else State.RUNNING)
            assert (history[-1][0] == "told") == (verdict is Verdict.STOP)
        with other.engine.connect() as connection:
            kept = connection.execute(sa.text("SELECT count(DISTINCT trial_id || '/' || step) FROM metric")).scalar()
        assert kept == sum(isinstance(event.what, Report) for event in seen)

    run(study, Fake(spy=spy, count=3))
    assert checked["submit"] == 25 and checked["answer"] > 10


CASES = {
    "random": {"strategy": "random", "schedule": "asha"},
    "tpe": {"strategy": "tpe", "schedule": "asha", "constraints": ("params<=800",), "trials": 14},
    "tpe, one objective": {"strategy": "tpe", "objectives": ("accuracy",), "trials": 16},
    "nsga2": {"strategy": "nsga2", "schedule": "asha"},
    "cmaes": {"strategy": "cmaes", "objectives": ("accuracy",), "screen": "gradsign:3"},
    "screened": {"strategy": "tpe", "schedule": "asha", "screen": "gradsign:3", "trials": 13},
    "twelve": {"strategy": "tpe", "space": "twelve", "trials": 11},
    "regularized evolution": {
        "strategy": "regularized_evolution",
        "strategy_options": {"start": 3, "population": 4, "sample": 2, "crossover": 0.5},
        "constraints": ("params<=800",),
        "trials": 16,
    },
    "pareto evolution, screened": {
        "strategy": "pareto_evolution",
        "strategy_options": {"start": 3, "population": 4},
        "screen": "gradsign:3",
        "schedule": "asha",
    },
    "grid": {"strategy": "grid", "space": "twelve", "trials": 12, "constraints": ("params<=800",)},
    "qmc, screened": {"strategy": "qmc", "screen": "gradsign:3"},
    "nsga3": {"strategy": "nsga3", "strategy_options": {"population": 4}, "trials": 16},
}


def scores(architecture: Any) -> float | None:
    """Every fifth proposal or so cannot be scored."""
    drawn = Random(canonical(architecture)).random()
    return None if drawn < 0.2 else drawn


class Reference:
    """Uninterrupted searches, each run once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.known: dict[str, tuple[dict[str, Any], int]] = {}

    def __getitem__(self, case: str) -> tuple[dict[str, Any], int]:
        """The facts of a case, and how many calls the executor had."""
        if case not in self.known:
            folder = self.folder / re.sub(r"\W+", "", case)
            folder.mkdir()
            calls: list[str] = []
            study = start(folder, **CASES[case])
            run(study, Fake(scores=scores, spy=lambda call, what: calls.append(call)))
            self.known[case] = facts(study), len(calls)
        return self.known[case]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(tmp_path_factory.mktemp("calm"))


def crashed(folder: Path, case: str, moments: list[int]) -> Study:
    """Run a search that dies at certain calls of its executor, and is resumed each time."""
    study = start(folder, **CASES[case])
    for moment in moments:
        try:
            run(study, Fake(scores=scores, spy=crashing_at(moment)))
        except Crash:
            pass
        study = reopen(study)
    run(study, Fake(scores=scores))
    return study


@pytest.mark.parametrize("case", CASES)
@given(share=st.floats(0, 1), more=st.lists(st.integers(0, 12), max_size=3))
@example(share=0.0, more=[0, 1, 2])
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_crash_at_any_moment_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, case: str, share: float, more: list[int]
) -> None:
    expected, calls = reference[case]
    study = crashed(tmp_path_factory.mktemp("wild"), case, [int(share * (calls - 1)), *more])
    assert facts(study) == expected


@pytest.mark.slow
@pytest.mark.parametrize("case", ["tpe", "screened"])
def test_a_crash_at_each_of_many_moments_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, reference: Reference, case: str
) -> None:
    expected, calls = reference[case]
    assert calls > 60
    for moment in range(0, calls, 2 if case == "screened" else 1):
        assert facts(crashed(tmp_path_factory.mktemp("wild"), case, [moment])) == expected, moment


@given(
    seed=st.integers(0, 2**32),
    workers=st.integers(2, 6),
    screen=st.sampled_from([None, "gradsign:3"]),
    strategy=st.sampled_from(["random", "tpe", "nsga2", "grid", "qmc", "regularized_evolution", "pareto_evolution"]),
    crashes=st.lists(st.integers(0, 60), max_size=3),
)
@settings(max_examples=20, deadline=None)
def test_many_workers_in_any_order_and_crashes_lose_and_double_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    workers: int,
    screen: str | None,
    strategy: str,
    crashes: list[int],
) -> None:
    study = start(
        tmp_path_factory.mktemp("many"), trials=20, strategy=strategy, schedule="asha", screen=screen, seed=seed
    )
    rng = Random(seed)
    for moment in [*crashes, 10**9]:
        try:
            run(study, Fake(count=workers, rng=rng, scores=scores, spy=crashing_at(moment)))
        except Crash:
            pass
        study = reopen(study)
    rows = study.trials()
    assert [row.number for row in rows] == list(range(20)) and len({row.identity for row in rows}) == 20
    assert all(row.state in (State.COMPLETED, State.STOPPED) for row in rows)
    asked: dict[int, int] = {}
    told: Counter[int] = Counter()
    for kind, trial, payload in queries.history(study.store, study.row.id):
        assert trial is not None
        if kind == "asked":
            assert payload["turn"] not in asked.values(), "two trials of one turn"
            asked[trial] = payload["turn"]
        if kind == "told":
            told[trial] += 1
            assert payload["turn"] == asked[trial]
    assert len(asked) == 20 and set(told.values()) == {1} and told.keys() == asked.keys()
    for row in rows:
        expected = list(evaluate(Job(row.number, 1, row.architecture, row.seed, epochs=3)))[: (row.step or 0) + 1]
        assert row.values["accuracy"] == expected[-1].metrics["val_accuracy"]


def test_a_screening_that_was_lost_with_its_driver_leaves_its_turn_to_nobody(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    for moment in range(70, 150, 5):
        study = start(
            tmp_path_factory.mktemp("lost"), trials=30, epochs=1, screen="gradsign:2", strategy="tpe", seed=moment
        )
        with pytest.raises(Crash):
            run(study, Fake(count=3, rng=Random(moment), spy=crashing_at(moment)))
        study = reopen(study)
        run(study, Fake(count=3, rng=Random(moment)))
        history = queries.history(study.store, study.row.id)
        turns = [payload["turn"] for kind, _, payload in history if kind == "asked"]
        assert len(turns) == len(set(turns)) == 30


def test_a_resumed_search_hands_the_strategy_what_it_knew(tmp_path: Path) -> None:
    """More trials later, or all at once: the same study."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    whole.mkdir()
    parts.mkdir()
    options: dict[str, Any] = {"strategy": "tpe", "schedule": "asha", "seed": 3}
    once = start(whole, trials=30, **options)
    run(once, Fake())
    study = start(parts, trials=7, **options)
    run(study, Fake())
    for trials in (3, 18, 30):
        study = reopen(study)
        study.extend(trials)
        run(study, Fake())
    assert facts(study) == facts(once)


@pytest.mark.parametrize(("losses", "ends"), [(1, "COMPLETED"), (2, "COMPLETED"), (3, "FAILED")])
def test_a_lost_worker_is_a_new_attempt_up_to_the_third(tmp_path: Path, losses: int, ends: str) -> None:
    study = start(tmp_path, trials=4)
    fake = Losing({2: losses})
    progress = run(study, fake)
    row = study.trial(2)
    tries = queries.attempts(study.store, row.id)
    assert [each.number for each in tries] == list(range(1, min(losses + 1, 3) + 1))
    assert [each.error for each in tries[:losses]] == ["the worker was lost: gone"] * losses
    assert row.state == ends and all(each.ended is not None for each in tries)
    assert row.reason == ("the worker was lost: gone (3 times)" if losses == 3 else None)
    assert progress.counts.get(State.FAILED, 0) == (losses == 3) and progress.running == {}
    assert [state for i, state in enumerate(states(study)) if i != 2] == [State.COMPLETED] * 3


def test_lost_workers_are_counted_across_a_resume_and_killed_drivers_are_not(tmp_path: Path) -> None:
    study = start(tmp_path, trials=1)
    for moment in (1, 2, 1):  # submit, event: the driver dies while trial 0 runs
        with pytest.raises(Crash):
            run(study, Fake(spy=crashing_at(moment)))
        study = reopen(study)
    # Calls: submit, the loss, submit, and there the driver dies.
    with pytest.raises(Crash):
        run(study, Losing({0: 1}, spy=crashing_at(3)))
    study = reopen(study)
    run(study, Losing({0: 2}))
    tries = queries.attempts(study.store, study.trial(0).id)
    assert states(study) == [State.FAILED]
    assert [bool(each.error) for each in tries] == [False, False, False, True, False, True, True]
    assert [each.number for each in tries] == list(range(1, 8))


def test_losses_of_many_workers_are_all_accounted_for(tmp_path: Path) -> None:
    study = start(tmp_path, trials=30, strategy="tpe", schedule="asha")
    run(study, Losing({number: number % 4 for number in range(30)}, count=5))
    for row in study:
        assert (row.state is State.FAILED) == (row.number % 4 == 3)
        assert len(queries.attempts(study.store, row.id)) == min(row.number % 4 + 1, 3)


def test_screening_trains_the_best_scored_and_keeps_all_scores(tmp_path: Path) -> None:
    study = start(tmp_path, trials=6, screen="gradsign:4", strategy="tpe")
    screened: list[ScoreJob] = []
    fake = Fake(scores=scores, spy=lambda call, what: screened.append(what) if isinstance(what, ScoreJob) else None)
    run(study, fake)
    assert [len(job.architectures) for job in screened] == [4] * 6
    for job, row in zip(screened, study, strict=True):
        best = max(job.architectures, key=lambda each: -1.0 if (score := scores(each)) is None else score)
        assert row.architecture == best and job.predictors == ("gradsign",) and job.space == "wide"
    expected = {(identity(each), "gradsign", scores(each)) for job in screened for each in job.architectures}
    assert set(facts(study)["scores"]) == expected


@pytest.mark.parametrize("value", [None, math.nan, -math.inf])
def test_what_cannot_be_scored_is_trained_last(tmp_path: Path, value: float | None) -> None:
    def score(architecture: Any) -> float | None:
        return -5.0 if architecture["network"]["width"] % 2 else value

    study = start(tmp_path, trials=12, screen="gradsign:8")
    run(study, Fake(scores=score))
    assert {row.architecture["network"]["width"] % 2 for row in study} == {1}
    (tmp_path / "none").mkdir()
    unscored = start(tmp_path / "none", trials=3, screen="gradsign:3")
    progress = run(unscored, Fake(scores=lambda architecture: value))
    assert states(unscored) == [State.COMPLETED] * 3
    assert value is not None or progress.last.startswith("gradsign gave no score to 3 of 3 proposals")


def test_a_screening_whose_worker_is_lost_is_tried_again_and_not_for_ever(tmp_path: Path) -> None:
    study = start(tmp_path, trials=3, screen="gradsign:3")
    run(study, Losing({-1: 2}, scores=scores))
    assert states(study) == [State.COMPLETED] * 3
    (tmp_path / "doomed").mkdir()
    doomed = start(tmp_path / "doomed", trials=2, screen="gradsign:3")
    run(doomed, Losing({-1: 10**9}, scores=scores))
    assert states(doomed) == [State.COMPLETED] * 2
    assert facts(doomed)["scores"] == []


def test_a_screened_finite_space_is_used_up(tmp_path: Path) -> None:
    study = start(tmp_path, trials=50, space="twelve", screen="gradsign:5")
    progress = run(study, Fake(scores=scores))
    assert len({row.identity for row in study}) == 12 and progress.last.startswith("the space seems exhausted")


def confirm(study: Study, fake: Fake, top: int = 3, repeats: int = 3) -> list[int]:
    return [row.number for row in study.confirm(fake, top, repeats)]


def test_confirm_trains_the_leaders_anew_with_fresh_seeds(tmp_path: Path) -> None:
    study = start(tmp_path, trials=10, objectives=("accuracy",))
    run(study, Fake())
    best = sorted(study, key=lambda row: -row.values["accuracy"])
    fake = Fake()
    assert confirm(study, fake, 3, 2) == [row.number for row in best[:3]]
    repeats = study.trials(Page(kind="confirm"))
    assert [(row.parent, row.repeat) for row in repeats] == [(b.number, r) for r in (1, 2) for b in best[:3]]
    assert [row.number for row in repeats] == list(range(10, 16))
    assert len({row.seed for row in study.trials(Page(kind=None))}) == 16
    for row in repeats:
        assert row.identity == study.trial(row.parent or 0).identity and row.state is State.COMPLETED
        assert row.values["accuracy"] == list(evaluate(fake.jobs[row.number - 10]))[-1].metrics["val_accuracy"]
    for number, spread in study.confirmed().items():
        figures = [row.values["accuracy"] for row in repeats if row.parent == number]
        assert spread["accuracy"].mean == pytest.approx(sum(figures) / 2) and spread["accuracy"].count == 2


def test_confirm_does_again_only_what_is_missing(tmp_path: Path) -> None:
    study = start(tmp_path, trials=10)
    run(study, Fake())
    confirm(study, Fake(), 2, 2)
    before = facts(study)
    nothing = Fake()
    confirm(reopen(study), nothing, 2, 2)
    assert nothing.jobs == [] and facts(study) == before
    more = Fake()
    confirm(reopen(study), more, 2, 3)
    assert [job.trial for job in more.jobs] == [14, 15]
    run(study, again := Fake())
    assert again.jobs == [], "a confirmation does not count as a trial of the search"


@pytest.mark.parametrize("moment", range(0, 21, 4))
def test_confirm_goes_on_after_a_crash(tmp_path_factory: pytest.TempPathFactory, moment: int) -> None:
    def confirmed(spy: Callable[[str, Any], None]) -> dict[str, Any]:
        study = start(tmp_path_factory.mktemp("confirm"), trials=5, objectives=("accuracy",))
        run(study, Fake())
        try:
            confirm(study, Fake(spy=spy), 2, 2)
        except Crash:
            confirm(reopen(study), Fake(), 2, 2)
        return facts(study)

    assert confirmed(crashing_at(moment)) == confirmed(lambda call, what: None)


def test_more_trials_after_a_confirmation(tmp_path: Path) -> None:
    study = start(tmp_path, trials=5, strategy="tpe")
    run(study, Fake())
    confirm(study, Fake(), 1, 2)
    study = reopen(study)
    study.extend(8)
    run(study, Fake())
    assert [row.number for row in study] == [0, 1, 2, 3, 4, 7, 8, 9]
    assert len({row.seed for row in study.trials(Page(kind=None))}) == 10


def test_a_trial_whose_files_are_gone_has_failed(tmp_path: Path) -> None:
    def forgetful(job: Job) -> Evaluation:
        outcome = yield from evaluate(job)
        return Outcome(outcome.values, {"weights": Artifact("gone", "", 0)} if job.trial == 1 else {})

    study = start(tmp_path, trials=3)
    run(study, Fake(forgetful))
    states = [(row.state, row.reason or "") for row in study]
    assert [state for state, _ in states] == [State.COMPLETED, State.FAILED, State.COMPLETED]
    assert "is not on this machine's disk" in states[1][1] and "gone; use --storage" in states[1][1]


def test_a_failed_confirmation_is_left_out_of_the_spread(tmp_path: Path) -> None:
    study = start(tmp_path, trials=3, objectives=("accuracy",))
    run(study, Fake())
    confirm(study, Losing({3: 3}), 1, 3)
    [leader] = study.leaders(1)
    assert study.confirmed()[leader.number]["accuracy"].count == 2


def test_nothing_to_confirm_is_said(tmp_path: Path) -> None:
    study, fake = start(tmp_path), Fake()
    with pytest.raises(StoreError, match="'one' has no completed trial to confirm: `nas resume one` first"):
        study.confirm(fake)
    assert fake.closed


def test_leaders_and_front(tmp_path: Path) -> None:
    study = start(tmp_path, trials=30)
    run(study, Fake())
    rows = {row.number: (-row.values["accuracy"], row.values["params"]) for row in study}
    undominated = [
        number
        for number, (a, b) in rows.items()
        if not any(c <= a and d <= b and (c, d) != (a, b) for c, d in rows.values())
    ]
    assert [row.number for row in study.front()] == sorted(undominated, key=lambda number: rows[number])
    assert [row.number for row in study.leaders(2)] == [row.number for row in study.front()][:2]


def test_the_executor_is_closed_however_a_run_ends(tmp_path: Path) -> None:
    study = start(tmp_path)
    crash, fine, kept_out = Fake(spy=crashing_at(3)), Fake(), Fake()
    with pytest.raises(Crash):
        run(study, crash)
    run(study, fine)
    with study.store.driving("one"), pytest.raises(StoreError, match="being run by another process"):
        run(study, kept_out)
    assert crash.closed and fine.closed and kept_out.closed


def test_a_changed_space_is_refused_and_the_executor_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study, fake = start(tmp_path), Fake()
    register(monkeypatch, Space("wide", "another", Struct(width=Integer(1, 3)), WIDE.make))
    with pytest.raises(StoreError, match="space 'wide' is not the one that study 'one' began with: start a new"):
        run(study, fake)
    assert fake.closed and study.trials() == []


def test_a_study_of_the_same_settings_is_gone_on_with_and_of_others_refused(tmp_path: Path) -> None:
    study = start(tmp_path, trials=5)
    assert start(tmp_path, trials=3).settings.trials == 5
    assert start(tmp_path, trials=9).row.id == study.row.id and reopen(study).settings.trials == 9
    with pytest.raises(StoreError, match=r"'one' exists with other settings \(epochs 4 instead of 3, seed 1 instead"):
        start(tmp_path, trials=20, epochs=4, seed=1)
    assert reopen(study).settings.trials == 9


def test_a_study_that_is_run_elsewhere_is_not_extended(tmp_path: Path) -> None:
    study = start(tmp_path, trials=5)
    with reopen(study).store.driving("one"), pytest.raises(StoreError, match="being run by another process"):
        study.extend(9)
    assert reopen(study).settings.trials == 5


@pytest.mark.parametrize("name", ["", "a/b", "..", "a b", "-", "x" * 61, "-x", "a\nb"])
def test_a_name_that_is_no_folder_name_is_refused(tmp_path: Path, name: str) -> None:
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    with pytest.raises(SettingsError, match=r"--study .* is not allowed: use .*letters, digits, - and _"):
        Study.create(store, Settings(space="wide"), name)
    assert queries.studies(store) == []


def test_the_same_seed_gives_the_same_study(tmp_path: Path) -> None:
    found = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        (tmp_path / name).mkdir()
        study = start(tmp_path / name, trials=12, strategy="tpe", schedule="asha", seed=seed)
        run(study, Fake())
        found.append(facts(study))
    assert found[0] == found[1] and found[0]["trials"] != found[2]["trials"]


def real(folder: Path, **settings: Any) -> Study:
    """A search that trains on the digits, in this process."""
    folder.mkdir()
    study = start(folder, space="tiny", trials=4, epochs=3, schedule="asha", strategy="tpe", **settings)
    study.run(make_executor(1))
    return study


def test_the_same_seed_gives_the_same_study_when_networks_are_trained(tmp_path: Path) -> None:
    first, second = real(tmp_path / "a"), real(tmp_path / "b")
    assert facts(first) == facts(second)
    assert any(row.state is State.COMPLETED for row in first)


def test_a_search_never_reads_the_test_split(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(self: Digits) -> None:
        raise AssertionError("the test split was read")

    monkeypatch.setattr(Digits, "test", forbidden)
    study = real(tmp_path / "a", screen="gradsign:2", constraints=("params<=5000",))
    study.confirm(make_executor(1), 1, 1)
    study.export(study.leaders(1)[0].number, tmp_path / "out")
    rows = study.trials(Page(kind=None))
    assert State.FAILED not in {row.state for row in rows} and State.COMPLETED in {row.state for row in rows}
    with pytest.raises(AssertionError, match="the test split was read"):
        Digits(0).test()


def test_every_row_of_a_data_frame_is_a_trial(tmp_path: Path) -> None:
    study = start(tmp_path, trials=4)
    run(study, Fake())
    frame = study.to_frame()
    assert frame["number"].tolist() == [0, 1, 2, 3] and set(frame["state"]) == {"COMPLETED"}
    assert frame["network.width"].tolist() == [row.architecture["network"]["width"] for row in study]


def test_progress_tells_what_an_earlier_run_did(tmp_path: Path) -> None:
    study = start(tmp_path, trials=3)
    run(study, Fake())
    study = reopen(study)
    study.extend(5)
    watched: list[tuple[int, int, bool]] = []

    def watch(progress: Progress) -> None:
        watched.append((progress.already, progress.done, progress.left is None))

    study.run(Fake(), watch, content="content")
    assert watched[0] == (3, 3, True) and watched[-1] == (3, 5, False)


def test_inline_runs_a_whole_study(tmp_path: Path) -> None:
    study = start(tmp_path, trials=10, schedule="asha", strategy="tpe", constraints=("params<=800",))
    run(study, Inline(evaluate))
    (tmp_path / "fake").mkdir()
    other = start(tmp_path / "fake", trials=10, schedule="asha", strategy="tpe", constraints=("params<=800",))
    run(other, Fake())
    assert facts(study) == facts(other)
