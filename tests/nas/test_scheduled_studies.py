"""Schedules that pause and fork, in whole studies: nobody is forgotten, nothing is doubled, a crash changes nothing."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fake_runs import Crash, Fake, crashing_at, facts, register, reopen, start
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from nas.checking import check_schedule
from nas.schedules import Verdict
from nas.settings import Settings, SettingsError
from nas.simulation import simulate
from nas.store import State, queries
from nas.study import Study
from nas.tasks import find_lookup
from nas.tasks.function import Function
from search_spaces.decisions import Choice, Integer, Real, Struct, changeable
from search_spaces.space import Space

TUNED = Space(
    "tuned",
    "for tests",
    Struct(
        network=Struct(width=Integer(1, 40)),
        training=Struct(
            rate=changeable(Real(1e-3, 1, log=True)),
            batch=changeable(Choice(16, 32, 64)),
            schedule=Choice("cosine", "linear"),
        ),
    ),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)
CASES: dict[str, dict[str, Any]] = {
    "hyperband": {"schedule": "hyperband", "epochs": 9, "trials": 14},
    "pbt": {"schedule": "pbt", "schedule_options": {"interval": 2, "quantile": 0.25}, "epochs": 7, "trials": 8},
    "pb2": {"schedule": "pb2", "schedule_options": {"interval": 2, "quantile": 0.25}, "epochs": 5, "trials": 6},
    "median": {"schedule": "median_stop", "epochs": 4, "trials": 12},
}
# Shrinking whole studies takes minutes and says little.
PHASES = (Phase.explicit, Phase.generate)
run = partial(Study.run, content="content")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, TUNED)


def begin(folder: Path, case: str, **more: Any) -> Study:
    return start(folder, **{"space": "tuned", "objectives": ("accuracy",)} | CASES[case] | more)


class Reference(dict[str, tuple[Any, int]]):
    """What undisturbed studies came to, and how many calls their executors had."""

    def __repr__(self) -> str:
        return "Reference"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    found = Reference()
    with pytest.MonkeyPatch.context() as patch:
        register(patch, TUNED)
        for case in CASES:
            calls: list[str] = []
            study = begin(tmp_path_factory.mktemp(case), case)
            run(study, Fake(spy=lambda call, what, calls=calls: calls.append(call)))
            found[case] = facts(study), len(calls)
    return found


@pytest.mark.parametrize("case", CASES)
@given(share=st.floats(0, 1), more=st.lists(st.integers(0, 20), max_size=3))
@example(share=0.0, more=[0, 1, 2])
@settings(max_examples=8, deadline=None, phases=PHASES)
def test_a_crash_at_any_moment_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
    reference: Reference,
    case: str,
    share: float,
    more: list[int],
) -> None:
    expected, calls = reference[case]
    study = begin(tmp_path_factory.mktemp("wild"), case)
    for moment in [int(share * (calls - 1)), *more]:
        try:
            run(study, Fake(spy=crashing_at(moment)))
        except Crash:
            pass
        study = reopen(study)
    run(study, Fake())
    found = facts(study)
    assert [each for each in found if found[each] != expected[each]] == []


@given(
    case=st.sampled_from(sorted(CASES)),
    seed=st.integers(0, 2**32),
    workers=st.integers(1, 6),
    crashes=st.lists(st.integers(0, 80), max_size=3),
)
@settings(max_examples=25, deadline=None, phases=PHASES)
def test_workers_in_any_order_and_crashes_forget_and_double_nobody(
    tmp_path_factory: pytest.TempPathFactory, case: str, seed: int, workers: int, crashes: list[int]
) -> None:
    study = begin(tmp_path_factory.mktemp("many"), case, seed=seed)
    rng = Random(seed)
    for moment in [*crashes, 10**9]:
        try:
            run(study, Fake(count=workers, rng=rng, spy=crashing_at(moment)))
        except Crash:
            pass
        study = reopen(study)
    rows = study.trials()
    assert [row.number for row in rows] == list(range(len(rows)))
    assert all(row.state in (State.COMPLETED, State.STOPPED) for row in rows)
    begun = [row for row in rows if row.forked_at is None]
    assert len(begun) == CASES[case]["trials"]
    told: Counter[int | None] = Counter()
    for kind, trial, _ in queries.history(study.store, study.row.id):
        told[trial] += kind == "told"
    assert all(told[row.id] == 1 for row in rows)
    for row in rows:
        steps = [step for step, _ in queries.curves(study.store, row.id)["val_accuracy"]]
        assert steps == list(range((row.forked_at or 0) + 1, (row.step or 0) + 1))
    if case.startswith("pb"):
        # Each fork ends another trial, so as many lines come to their end as began.
        assert sum(row.state is State.COMPLETED for row in rows) == len(begun)


def test_a_fork_has_its_parents_lineage_and_changes_only_what_may_change(tmp_path: Path) -> None:
    study = begin(tmp_path, "pbt")
    executor = Fake(count=3)
    run(study, executor)
    forks = [row for row in study if row.forked_at is not None]
    assert len(forks) == 2 * 3, "a quarter of eight, at epochs 2, 4 and 6"
    rows = {row.number: row for row in study}
    for row in forks:
        assert row.parent is not None and row.forked_at in (2, 4, 6)
        parent = rows[row.parent]
        changed = {each.path for each in study.space.diff(parent.architecture, row.architecture)}
        assert changed <= {"training.rate", "training.batch"}
        job = next(each for each in executor.jobs if each.trial == row.number)
        assert job.origin is not None and job.origin.step == row.forked_at and job.retain
        assert (job.origin.architecture, job.origin.seed) == (parent.architecture, parent.seed)
        assert job.origin.folder.name == f"{row.parent:05d}"


def test_the_one_that_was_exploited_says_from_whom_its_place_was_taken(tmp_path: Path) -> None:
    study = begin(tmp_path, "pbt")
    run(study, Fake())
    stopped = [row for row in study if row.state is State.STOPPED]
    assert stopped
    for row in stopped:
        assert row.reason is not None and row.reason.startswith("pbt went on from trial ")


def test_a_paused_trial_frees_its_worker_and_is_a_new_attempt_when_it_goes_on(tmp_path: Path) -> None:
    study = begin(tmp_path, "pbt")
    answers: list[Verdict] = []

    def spy(call: str, what: Any) -> None:
        if call == "answer":
            answers.append(what[1])

    run(study, Fake(spy=spy))
    assert Verdict.PAUSE in answers
    completed = next(row for row in study if row.state is State.COMPLETED and row.forked_at is None)
    tries = queries.attempts(study.store, completed.id)
    assert [each.number for each in tries] == [1, 2, 3, 4] and all(each.ended and not each.error for each in tries)


def test_the_schedule_of_a_fork_is_the_chain_of_its_parents(tmp_path: Path) -> None:
    study = begin(tmp_path, "pbt")
    run(study, Fake())
    last = max((row for row in study if row.forked_at == 6), key=lambda row: row.number)
    tuned, steps = study.schedule(last.number)
    assert tuned.trials[-1] == last.number and tuned.segments[-1].training == last.architecture["training"]
    rows = {row.number: row for row in study}
    number, chain = last.number, [last.number]
    while rows[number].forked_at is not None:
        number = rows[number].parent or 0
        chain.insert(0, number)
    assert list(tuned.trials) == chain == [each.trial for each in steps]
    assert [each.begin for each in tuned.segments] == [rows[each].forked_at or 0 for each in chain]


def test_more_trials_after_the_end_are_a_population_of_their_own(tmp_path: Path) -> None:
    study = begin(tmp_path, "pbt", trials=4)
    run(study, Fake())
    before = {row.number: (row.state, row.values) for row in study}
    study.extend(8)
    run(study, Fake(count=2))
    after = {row.number: (row.state, row.values) for row in study}
    assert {number: after[number] for number in before} == before
    assert sum(state is State.COMPLETED for state, _ in after.values()) == 8


STEPS = Space(
    "steps",
    "for tests",
    Struct(network=Struct(), training=Struct(rate=changeable(Choice(1, 2, 4, 8)))),
    lambda architecture, signature: pytest.fail("nothing is built here"),
)


def summed(architecture: Any, parts: list[tuple[int, Any]]) -> list[dict[str, float]]:
    """A training whose accuracy grows by its rate, in per cent, each epoch."""
    curve, total = [], 0
    for epoch in range(3):
        total += next(part["training"]["rate"] for begin, part in reversed(parts) if begin <= epoch)
        curve.append({"val_accuracy": total / 100})
    return curve


@pytest.mark.parametrize("workers", [1, 3])
def test_population_based_training_on_the_simulator_worked_by_hand(
    monkeypatch: pytest.MonkeyPatch, workers: int
) -> None:
    """Four members with rates 1, 2, 4, 8; at each pause the worst goes on from the best, at the rate beside 8, 4.

    After epoch 1 they have 1, 2, 4, 8: trial 0 ends, and 4 begins from trial 3. After epoch 2 trials 1 to 4 have
    4, 8, 16, 8 + 4: trial 1 ends, and 5 begins from trial 3. After epoch 3 trials 2 to 5 have 12, 24, 16, 16 + 4.
    """
    register(monkeypatch, STEPS)
    asked = Settings(
        space="steps",
        task="function:somewhere:summed",
        objectives=("accuracy",),
        strategy="grid",
        strategy_options={"order": "lexicographic"},
        schedule="pbt",
        schedule_options={"interval": 1, "quantile": 0.25, "resample": 0.0},
        trials=4,
        epochs=3,
    )
    trials = simulate(asked, workers, Function(summed))
    found = [(each.architecture["training"]["rate"], each.state.value, each.values["accuracy"]) for each in trials]
    assert found == [
        (1, "STOPPED", 0.01),
        (2, "STOPPED", 0.04),
        (4, "COMPLETED", 0.12),
        (8, "COMPLETED", 0.24),
        (4, "COMPLETED", 0.16),
        (4, "COMPLETED", 0.20),
    ]
    # With one worker and a third of a second an epoch, 4 + 4 + 4 epochs take four seconds.
    assert workers > 1 or max(each.clock for each in trials) == pytest.approx(4.0)


def test_a_fork_of_what_is_looked_up_is_refused() -> None:
    asked = {"space": "tuned", "task": "table:digits_bench", "schedule": "pbt", "objectives": ("accuracy",)}
    with pytest.raises(SettingsError, match=r"--schedule pbt .*table:digits_bench knows nothing: use asha, hyperband"):
        check_schedule(Settings(**asked), TUNED, find_lookup("table:digits_bench"))  # type: ignore[arg-type]


def test_a_fork_is_confirmed_by_its_whole_schedule(tmp_path: Path) -> None:
    study = begin(tmp_path, "pbt")
    run(study, Fake())
    executor = Fake()
    leaders = study.confirm(executor, top=8, repeats=1)
    assert any(row.forked_at for row in leaders)
    for leader, job in zip(leaders, executor.jobs, strict=True):
        segments = study.schedule(leader.number)[0].segments
        assert job.segments == (segments if leader.forked_at else ()) and job.origin is None
