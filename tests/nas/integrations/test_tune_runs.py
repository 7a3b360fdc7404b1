"""Real runs of Ray Tune on two CPUs: each of its schedulers, and Tune as one uses it oneself; all is in our store."""

from __future__ import annotations

import logging
import math
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
import ray
import ray.cloudpickle as cloudpickle
import tiny_space
from fake_runs import register
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from tiny_space import TINY

from nas.export import evaluate_folder
from nas.integrations.tune import NasSearcher, StoreCallback, run, trainable
from nas.integrations.tune.configs import SEED as SEED_KEY
from nas.integrations.tune.configs import trial_seed
from nas.integrations.tune.engine import INTERRUPTED
from nas.job import Evaluate, Evaluation, Job
from nas.progress import Progress
from nas.settings import Settings
from nas.store import State, Store, StoreError, queries
from nas.store.queries import Page, TrialRow
from nas.study import Study
from nas.training.evaluate import evaluate
from search_spaces.decisions import every
from search_spaces.space import find_space

pytestmark = [pytest.mark.slow, pytest.mark.ray]
SEED = 3
LEFT = Path.home() / "ray_results"


@pytest.fixture(scope="module", autouse=True)
def two_cpus() -> Iterator[None]:
    there = LEFT.exists()
    ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()
    assert LEFT.exists() == there, "Tune left files in the home folder"


def evaluation(orders: dict[int, str], folder: Path) -> Evaluate:
    """An evaluation whose accuracy grows by the label smoothing each epoch; trials of certain seeds do as ordered.

    Made inside a function, so that Ray sends it along rather than the name of this module.
    """
    marks = str(folder)

    def obey(job: Job) -> Evaluation:
        import json
        import os
        from pathlib import Path

        from nas.job import Infeasible, Outcome, Report

        order = orders.get(job.seed)
        own = job.folder / "checkpoint.pt"
        epoch, value = 0, 0.0
        if own.exists():
            epoch, value = json.loads(own.read_text())
        elif job.origin is not None:
            epoch, value = json.loads((job.origin.folder / f"checkpoint-{job.origin.step}.pt").read_text())
            assert epoch == job.origin.step
        yield Report(0, {"params": 7.0})
        if order == "infeasible":
            raise Infeasible("params 7 breaks params<=3")
        while epoch < job.epochs:
            epoch, value = epoch + 1, value + job.architecture["training"]["label_smoothing"]
            if order == "fail":
                raise ValueError("a bad shape\nand more")
            if order == "die" and epoch == 2 and not (Path(marks) / "died").exists():
                (Path(marks) / "died").touch()
                os._exit(9)
            job.folder.mkdir(parents=True, exist_ok=True)
            own.write_text(json.dumps([epoch, value]))
            yield Report(epoch, {"val_accuracy": value, "val_loss": 1 - value})
        return Outcome({"accuracy": value, "params": 7.0})

    return obey


def begin(folder: Path, schedule: str, trials: int, epochs: int, **settings: Any) -> Study:
    fields: dict[str, Any] = dict(strategy="random", schedule=schedule, trials=trials, epochs=epochs, seed=SEED)
    store = Store.open(f"sqlite:///{folder}/nas.db", create=True)
    return Study.create(store, Settings(**(fields | settings)), "one")


def curve(study: Study, row: TrialRow) -> dict[int, float]:
    return dict(queries.curves(study.store, row.id).get("val_accuracy", []))


def account(study: Study) -> dict[State, int]:
    """Check that every trial has ended with what it must have, and its figures are those of the evaluation."""
    rows = {row.number: row for row in study.trials(Page(kind=None))}
    assert sorted(rows) == list(range(len(rows)))
    for row in rows.values():
        values, begin, value = curve(study, row), 0, 0.0
        if row.forked_at is not None:
            assert row.parent is not None
            begin, value = row.forked_at, curve(study, rows[row.parent])[row.forked_at]
        rate = row.architecture["training"]["label_smoothing"]
        assert list(values) == list(range(begin + 1, (row.step or begin) + 1 if values else begin + 1))
        assert all(math.isclose(values[step], value + rate * (step - begin)) for step in values)
        attempts = queries.attempts(study.store, row.id)
        assert [each.number for each in attempts] == list(range(1, len(attempts) + 1))
        assert all(each.ended is not None for each in attempts)
        assert row.state.ended and row.ended is not None
        if row.state in (State.COMPLETED, State.STOPPED) and values:
            assert row.values == {"accuracy": values[max(values)], "params": 7.0}
        if row.state is State.COMPLETED:
            assert row.reason is None and row.step == study.settings.epochs
    return Counter(row.state for row in rows.values())


def attempts_of(study: Study, row: TrialRow) -> int:
    return len(queries.attempts(study.store, row.id))


def clean(study: Study) -> bool:
    """Say whether nothing of Tune's own is left in the study's folder."""
    return {path.name for path in study.store.folder(study.name).iterdir()} <= {"driver.lock"}


@pytest.mark.parametrize("schedule", ["asha", "hyperband"])
def test_halving_by_tune_with_trials_that_fail_that_cannot_be_and_that_lose_their_worker(
    tmp_path: Path, schedule: str
) -> None:
    trials, space = 12, find_space("kan_vision")
    searcher = NasSearcher("random", space, seed=SEED)
    proposed = [space.draw(Random(f"{SEED}/{turn}")) for turn in range(trials)]
    best = max(range(trials), key=lambda number: proposed[number]["training"]["label_smoothing"])
    # The best one goes on at every rung, so it is there to lose its worker after the first.
    orders = {(best + 1) % trials: "fail", (best + 2) % trials: "infeasible", best: "die"}
    seen: list[int] = []
    study = begin(tmp_path, schedule, trials, 9)
    made = evaluation({trial_seed(SEED, number): order for number, order in orders.items()}, tmp_path)
    progress = run(study, workers=2, evaluate=made, watch=lambda progress: seen.append(progress.done))
    states = account(study)
    rows = {row.seed: row for row in study.trials()}
    assert len(rows) == trials == progress.done == progress.total and dict(states) == progress.counts
    assert [rows[trial_seed(SEED, number)].architecture for number in range(trials)] == proposed
    assert all(searcher.suggest(str(n)) == space.trace(proposed[n]) | {SEED_KEY: trial_seed(SEED, n)} for n in range(9))
    for number, order in orders.items():
        row = rows[trial_seed(SEED, number)]
        attempts = queries.attempts(study.store, row.id)
        if order == "infeasible":
            assert (row.state, row.reason, row.values) == (State.INFEASIBLE, "params 7 breaks params<=3", {})
        elif order == "fail":
            assert (row.state, row.reason) == (State.FAILED, "ValueError: a bad shape")
            assert "Traceback" in attempts[-1].error and "in obey" in attempts[-1].error
        else:
            lost = [each for each in attempts if each.error]
            assert row.state is State.COMPLETED and len(lost) == 1 and lost[0] is not attempts[-1]
            assert lost[0].error.startswith("the worker was lost")
    stopped = [row for row in rows.values() if row.state is State.STOPPED]
    assert stopped and all(row.reason == f"stopped by {schedule} after epoch {row.step}" for row in stopped)
    assert (states[State.FAILED], states[State.INFEASIBLE]) == (1, 1)
    if schedule == "hyperband":  # of three that go on at the first rung, two have waited there for the others
        assert [row for row in rows.values() if attempts_of(study, row) > 1 and row.seed != trial_seed(SEED, best)]
    value = rows[trial_seed(SEED, best)].values["accuracy"]
    assert progress.best["accuracy"][0] == value and seen[-1] == trials and clean(study)


@pytest.mark.parametrize("schedule", ["pbt", "pb2"])
def test_populations_of_tune_whose_forks_have_their_lineage(tmp_path: Path, schedule: str) -> None:
    study = begin(tmp_path, schedule, 6, 6)
    progress = run(study, workers=2, evaluate=evaluation({trial_seed(SEED, 2): "fail"}, tmp_path))
    states = account(study)
    rows = study.trials()
    forks = [row for row in rows if row.forked_at is not None]
    stopped = [row for row in rows if row.state is State.STOPPED]
    assert len(rows) == 6 + len(forks) == progress.total == progress.done and states[State.FAILED] == 1
    assert forks and len(stopped) == len(forks), "no trial was exploited"
    space, marked = find_space("kan_vision"), every(find_space("kan_vision").tree)
    for row in forks:
        source = rows[row.parent]  # type: ignore[index]
        assert 1 <= row.forked_at < 6 and source.number < row.number and row.seed == source.seed
        for change in space.diff(source.architecture, row.architecture):
            assert marked[change.path].changeable
        told = f"{schedule} went on from trial {row.parent} instead, after epoch {row.forked_at}"
        assert any(each.reason == told for each in stopped)
    assert any(space.diff(rows[row.parent].architecture, row.architecture) for row in forks)  # type: ignore[index]
    assert clean(study)


def test_ctrl_c_keeps_what_there_is_and_gives_the_cpus_back(tmp_path: Path) -> None:
    study = begin(tmp_path, "none", 50, 4)

    def watch(progress: Progress) -> None:
        if progress.done == 3:
            os.kill(os.getpid(), signal.SIGINT)

    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(study, workers=2, evaluate=evaluation({}, tmp_path), watch=watch)
    assert signal.getsignal(signal.SIGINT) is before
    rows = study.trials()
    assert account(study)[State.COMPLETED] >= 3 and len(rows) < 50
    cut = [row.reason for row in rows if row.state is State.STOPPED]
    assert all(reason is not None and reason.startswith(INTERRUPTED) for reason in cut)
    assert not study.store.driven("one") and clean(study)
    with pytest.raises(StoreError, match="was run by Ray Tune, which does not restore its scheduler") as error:
        run(study, workers=2)
    assert "nas search --engine tune --study NAME" in str(error.value) and len(study.trials()) == len(rows)


def test_tune_as_one_uses_it_oneself_trains_and_leaves_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, TINY)
    cloudpickle.register_pickle_by_value(tiny_space)
    url, objectives = f"sqlite:///{tmp_path}/nas.db", ("accuracy", "params")
    searcher = NasSearcher("nsga2", TINY, objectives, seed=1)
    try:
        grid = tune.Tuner(
            trainable(TINY, "digits", 3, objectives=objectives),
            tune_config=tune.TuneConfig(
                metric="accuracy",
                mode="max",
                num_samples=4,
                search_alg=searcher,
                scheduler=ASHAScheduler(max_t=3, grace_period=2, reduction_factor=2),
                max_concurrent_trials=2,
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=str(tmp_path / "tune"),
                verbose=0,
                callbacks=[StoreCallback(url, "mine", parents=searcher.parents)],
            ),
        ).fit()
    finally:
        cloudpickle.unregister_pickle_by_value(tiny_space)
    study = Study(Store.open(url), "mine")
    rows = study.trials()
    assert len(rows) == len(grid) == 4 and not grid.errors
    assert {row.state for row in rows} <= {State.COMPLETED, State.STOPPED, State.INFEASIBLE}
    assert study.settings.objectives == objectives and study.settings.epochs == 3
    done = [row for row in rows if row.state is State.COMPLETED]
    for row in done:
        job = Job(
            0, 1, row.architecture, row.seed, "tiny", "digits", epochs=3, folder=tmp_path / f"direct-{row.number}"
        )
        expected = [report.metrics["val_accuracy"] for report in evaluate(job) if report.step]
        assert list(curve(study, row).values()) == expected
        assert row.values["accuracy"] == expected[-1]
        assert "weights" in queries.artifacts(study.store, row.id)
    assert done
    best = max(done, key=lambda row: row.values["accuracy"])
    assert grid.get_best_result().metrics["accuracy"] == best.values["accuracy"]
    folder = study.export(best.number, tmp_path / "out")
    assert evaluate_folder(folder, None, "validation")["accuracy"] == pytest.approx(best.values["accuracy"])
