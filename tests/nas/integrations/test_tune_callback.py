"""What StoreCallback writes, told by trials that stand for Tune's: rows, attempts, forks, pauses, ends and refusals."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from fake_runs import WIDE, register

from nas.integrations.tune.callback import StoreCallback
from nas.integrations.tune.evaluating import trainable
from nas.integrations.tune.failures import failure
from nas.integrations.tune.rows import Rows
from nas.settings import Settings
from nas.store import State, Store, StoreError, queries
from nas.store.models import Trial
from nas.store.queries import Page, TrialRow
from nas.study import Study
from search_spaces.decisions import Architecture

OBJECTIVES = ("accuracy", "params")


@pytest.fixture(autouse=True)
def spaces(monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch, WIDE)


@dataclass
class Checkpointed:
    metrics: dict[str, Any]


@dataclass
class Actors:
    ray_actor: str = "an actor"


@dataclass
class FakeTrial:
    """Has of a Tune trial what the callback looks at."""

    trial_id: str
    config: dict[str, Any]
    made: Any = None
    status: str = "RUNNING"
    checkpoint: Any = None
    error_file: str | None = None
    latest_checkpoint_result: Checkpointed | None = None
    temporary_state: Actors = field(default_factory=Actors)

    def get_trainable_cls(self) -> Any:
        return self.made or trainable(WIDE, "digits", 3, objectives=OBJECTIVES, seed=5)


class Run:
    """A Tune run that is told by hand."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
        self.callback = StoreCallback(self.store, "one", **options)
        self.callback.setup(total_num_samples=4)
        self.trials: list[FakeTrial] = []

    def start(self, *trials: FakeTrial) -> None:
        for trial in trials:
            if trial not in self.trials:
                self.trials.append(trial)
            self.tell("on_trial_start", trial=trial)

    def report(self, trial: FakeTrial, step: int, state: str = "RUNNING", **said: Any) -> None:
        ours = {"state": state, "step": step, "reason": "", "error": "", "moved": "", "measured": {"params": 7.0}}
        ours["metrics"] = {"val_accuracy": step / 10, "val_loss": 1.0} if step else {}
        self.tell("on_trial_result", trial=trial, result={"nas": ours | said})

    def tell(self, hook: str, **about: Any) -> None:
        getattr(self.callback, hook)(iteration=0, trials=self.trials, **about)

    def rows(self) -> list[TrialRow]:
        return self.study.trials(Page(kind=None))

    def in_hand(self, row: TrialRow) -> bool:
        """Say whether the store has a driver for a trial."""
        with self.store.engine.connect() as connection:
            return connection.execute(sa.select(Trial.driver).where(Trial.id == row.id)).scalar() is not None

    @property
    def study(self) -> Study:
        return Study(self.store, "one")


def config(width: int = 3, rate: float = 0.1) -> dict[str, Any]:
    return {"network.width": width, "network.kind": "a", "training.rate": rate}


def decided(width: int = 3, rate: float = 0.1) -> Architecture:
    return {"network": {"width": width, "kind": "a"}, "training": {"rate": rate}}


def test_a_trial_is_a_row_from_its_start_to_its_end(tmp_path: Path) -> None:
    run, trial = Run(tmp_path), FakeTrial("x", config())
    run.start(trial)
    [row] = run.rows()
    assert (row.number, row.state, row.architecture, row.seed) == (0, State.RUNNING, decided(), 5)
    run.report(trial, 1)
    run.report(trial, 2)
    run.report(trial, 3, "COMPLETED")
    run.tell("on_trial_complete", trial=trial)
    [row] = run.rows()
    assert (row.state, row.reason, row.values) == (State.COMPLETED, None, {"accuracy": 0.3, "params": 7.0})
    curves = queries.curves(run.store, row.id)
    assert curves == {
        "params": [(0, 7.0)],
        "val_accuracy": [(1, 0.1), (2, 0.2), (3, 0.3)],
        "val_loss": [(1, 1.0), (2, 1.0), (3, 1.0)],
    }
    [attempt] = queries.attempts(run.store, row.id)
    assert (attempt.number, attempt.worker, attempt.device) == (1, "tune-0", "cpu") and attempt.ended is not None
    assert run.store.driven("one")
    run.tell("on_experiment_end")
    assert not run.store.driven("one")


def test_the_study_that_it_makes_says_what_it_is_of(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.start(FakeTrial("x", config()))
    settings = run.study.settings
    assert (settings.space, settings.task, settings.epochs, settings.trials) == ("wide", "digits", 3, 4)
    assert settings.objectives == OBJECTIVES and run.study.row.settings["engine"] == "tune"


@pytest.mark.parametrize(
    ("steps", "state", "said", "expected"),
    [
        ([1], "RUNNING", {}, (State.STOPPED, "stopped by asha after epoch 1", {"accuracy": 0.1, "params": 7.0})),
        ([], "RUNNING", {}, (State.STOPPED, "stopped by asha before its first epoch", {})),
        ([1, 1], "INFEASIBLE", {"reason": "diverged", "metrics": {}}, (State.INFEASIBLE, "diverged", {})),
        ([0], "FAILED", {"reason": "ValueError: no", "error": "Traceback"}, (State.FAILED, "ValueError: no", {})),
    ],
)
def test_how_trials_end_that_are_not_completed(
    tmp_path: Path, steps: list[int], state: str, said: dict[str, Any], expected: tuple[Any, ...]
) -> None:
    run, trial = Run(tmp_path, schedule="asha"), FakeTrial("x", config())
    run.start(trial)
    for step in steps[:-1]:
        run.report(trial, step)
    if steps:
        run.report(trial, steps[-1], state, **said)
    run.tell("on_trial_complete", trial=trial)
    [row] = run.rows()
    assert (row.state, row.reason, row.values) == expected
    [attempt] = queries.attempts(run.store, row.id)
    assert attempt.error == (said.get("error") or said.get("reason"))


def test_the_row_of_an_exploited_trial_ends_and_its_forks_begins(tmp_path: Path) -> None:
    run = Run(tmp_path, schedule="pbt")
    good, bad = FakeTrial("good", config(3)), FakeTrial("bad", config(9))
    run.start(good, bad)
    for trial in (good, bad):
        run.report(trial, 1)
    run.report(good, 2)
    # Tune's exploit comes before the callback hears of the result upon which it came.
    bad.config = config(3, rate=0.2) | {"nas.seed": 5}
    bad.latest_checkpoint_result = Checkpointed({"trial_id": "good", "training_iteration": 2})
    run.report(bad, 2)
    rows = run.rows()
    assert [(row.state, row.parent, row.forked_at) for row in rows] == [
        (State.RUNNING, None, None),
        (State.STOPPED, None, None),
        (State.WAITING, 0, 2),
    ]
    assert rows[1].reason == "pbt went on from trial 0 instead, after epoch 2" and rows[1].step == 2
    assert rows[1].values["accuracy"] == 0.2 and rows[2].architecture == decided(3, 0.2)
    run.start(bad)
    run.report(bad, 3, "COMPLETED")
    run.tell("on_trial_complete", trial=bad)
    fork = run.rows()[2]
    assert fork.state is State.COMPLETED and [each.number for each in queries.attempts(run.store, fork.id)] == [1]
    assert queries.curves(run.store, fork.id)["val_accuracy"] == [(3, 0.3)]
    assert run.callback.progress is not None and run.callback.progress.total == 5


def test_a_fork_of_a_fork_and_one_whose_decisions_did_not_change(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first, second = FakeTrial("a", config(1)), FakeTrial("b", config(2))
    run.start(first, second)
    run.report(second, 1)
    second.config = dict(first.config)
    second.latest_checkpoint_result = Checkpointed({"trial_id": "a", "training_iteration": 1})
    run.report(first, 1)
    run.start(second)
    first.config = dict(second.config)
    first.latest_checkpoint_result = Checkpointed({"trial_id": "b", "training_iteration": 2})
    run.report(second, 2)
    assert [(row.parent, row.forked_at) for row in run.rows()] == [(None, None), (None, None), (0, 1), (2, 2)]
    assert len({row.identity for row in run.rows()}) == 2
    run.callback.close()
    assert [row.reason for row in run.rows()[2:]] == ["the run ended after epoch 2"] * 2


def test_trials_of_one_architecture_are_rows_of_their_own(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.start(*(FakeTrial(name, config() | {"nas.seed": number}) for number, name in enumerate("abc")))
    assert [(row.repeat, row.seed) for row in run.rows()] == [(0, 0), (1, 1), (2, 2)]


def test_a_trial_that_waits_is_paused_and_goes_on_as_another_attempt(tmp_path: Path) -> None:
    run, trial = Run(tmp_path), FakeTrial("x", config())
    run.start(trial)
    run.report(trial, 1)
    run.tell("on_step_end")
    assert run.rows()[0].state is State.RUNNING
    trial.status = "PAUSED"
    run.tell("on_step_end")
    run.tell("on_step_end")
    [row] = run.rows()
    assert (
        row.state is State.PAUSED and not run.in_hand(row) and queries.attempts(run.store, row.id)[0].ended is not None
    )
    trial.status, trial.temporary_state = "RUNNING", Actors("another actor")
    run.start(trial)
    [row] = run.rows()
    assert row.state is State.RUNNING and run.in_hand(row)
    assert [(each.number, each.worker) for each in queries.attempts(run.store, row.id)] == [
        (1, "tune-0"),
        (2, "tune-1"),
    ]


def test_a_trial_that_lost_its_worker_is_stale_until_its_next_attempt(tmp_path: Path) -> None:
    run, trial = Run(tmp_path), FakeTrial("x", config())
    run.start(trial)
    trial.error_file = str(tmp_path / "error.txt")
    Path(trial.error_file).write_text("Failure # 1 (occurred at now)\nThe actor died unexpectedly\nmore\n")
    run.tell("on_trial_recover", trial=trial)
    assert run.rows()[0].state is State.STALE
    run.start(trial)
    [row] = run.rows()
    first, second = queries.attempts(run.store, row.id)
    assert row.state is State.RUNNING and second.number == 2
    assert first.error == "the worker was lost: The actor died unexpectedly"


def test_what_has_not_ended_when_the_run_does_is_stopped(tmp_path: Path) -> None:
    run, trial = Run(tmp_path), FakeTrial("x", config())
    run.start(trial)
    run.report(trial, 2)
    run.callback.ending = "interrupted"
    run.tell("on_experiment_end")
    run.callback.close()
    [row] = run.rows()
    assert (row.state, row.reason) == (State.STOPPED, "interrupted after epoch 2") and row.values["accuracy"] == 0.2


def test_the_lineage_of_what_a_strategy_bred(tmp_path: Path) -> None:
    run = Run(tmp_path, parents=lambda trial: {"b": ["a"], "c": ["never started", "b"]}.get(trial, []))
    run.start(*(FakeTrial(name, config(number)) for number, name in enumerate("abc", 1)))
    assert [row.parent for row in run.rows()] == [None, 0, 1]


def test_a_study_is_written_to_by_one_run_and_of_one_kind(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.start(FakeTrial("x", config()))
    other = Run(tmp_path)
    with pytest.raises(StoreError, match="is being run by another process"):
        other.start(FakeTrial("y", config()))
    run.tell("on_experiment_end")
    again = Run(tmp_path)
    with pytest.raises(StoreError, match="has trials, and Ray Tune cannot go on with a study: choose another name"):
        again.start(FakeTrial("y", config()))
    longer = Run(tmp_path)
    made = trainable(WIDE, "digits", 5, objectives=OBJECTIVES)
    with pytest.raises(StoreError, match="has epochs 3, but the trainable has 5: choose another study"):
        longer.start(FakeTrial("y", config(), made))


def test_a_study_that_is_there_and_empty_is_used(tmp_path: Path) -> None:
    run = Run(tmp_path)
    Study.create(run.store, Settings(space="wide", strategy="nsga2", trials=9, epochs=3), "one")
    run.start(FakeTrial("x", config()))
    assert run.study.settings.strategy == "nsga2" and len(run.rows()) == 1


def test_another_trainable_is_refused(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(StoreError, match=r"writes down what `nas\.integrations\.tune\.trainable` makes"):
        run.start(FakeTrial("x", config(), made=int))
    run.start(trial := FakeTrial("x", config()))
    with pytest.raises(StoreError, match=r"writes down what `nas\.integrations\.tune\.trainable` makes"):
        run.tell("on_trial_result", trial=trial, result={"val_accuracy": 0.5})


def test_an_error_of_the_store_ends_the_run_where_tune_would_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, trial = Run(tmp_path), FakeTrial("x", config())
    run.start(trial)

    def broken(*about: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Rows, "stop", broken)
    with pytest.raises(StoreError):
        run.tell("on_trial_complete", trial=trial)
    with pytest.raises(StoreError, match="the disk is full"):
        run.tell("on_step_end")
    run.tell("on_experiment_end")
    assert not run.store.driven("one")


def test_tune_can_pickle_it(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.start(FakeTrial("x", config()))
    assert pickle.dumps(run.callback)


TASK_ERROR = """Failure # 1 (occurred at 2026-11-29_16-00-00)
The actor died unexpectedly
Failure # 2 (occurred at 2026-11-29_16-00-09)
ray::wide_digits.train() (pid=1, ip=1.2.3.4)
  File "ray/tune/trainable/trainable.py", line 331, in train
    raise skipped from exception_cause(skipped)
  File "a/plugin.py", line 3, in step
    raise ValueError("a bad shape")
ValueError: a bad shape
and more
"""
OWN_ERROR = """Failure # 1 (occurred at 2026-11-29_16-00-00)
ray::wide_digits.train() (pid=1)
  File "x.py", line 331, in train
nas.integrations.tune.evaluating.TrialFailed: KeyError: 'width'

Traceback (most recent call last):
  File "y.py", line 1, in make
KeyError: 'width'
"""


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (TASK_ERROR, "ValueError: a bad shape"),
        (OWN_ERROR, "KeyError: 'width'"),
        ("Failure # 1 (occurred at now)\nThe actor died\nmore", "the worker was lost: The actor died"),
        (None, "the worker was lost: Ray Tune left no error"),
    ],
)
def test_the_reason_of_an_error_is_a_line_of_tunes_file(tmp_path: Path, text: str | None, reason: str) -> None:
    trial = FakeTrial("x", {}, error_file=str(tmp_path / "error.txt"))
    if text is not None:
        (tmp_path / "error.txt").write_text(text)
    found, whole = failure(trial)  # type: ignore[arg-type]
    assert found == reason and "Failure #" not in whole
    if text is not None:
        assert whole.strip() and whole in text
