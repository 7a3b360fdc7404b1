"""The engine around a Tune run: what is refused before it, its schedulers, and how it ends."""

from __future__ import annotations

import logging
import os
import random
import signal
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ray.tune.error import TuneError
from ray.tune.schedulers import ASHAScheduler, FIFOScheduler, HyperBandForBOHB, PopulationBasedTraining
from ray.tune.schedulers.pb2 import PB2

from nas.errors import UserError
from nas.integrations.tune import check, refuse_resume
from nas.integrations.tune.callback import StoreCallback
from nas.integrations.tune.configs import read
from nas.integrations.tune.engine import Interrupted, Lost, TuneRunError, _fit, population, searcher_of
from nas.integrations.tune.schedulers import scheduler_of
from nas.integrations.tune.surroundings import QUIET, files, noting_signals, quiet, seeded
from nas.settings import Settings, SettingsError
from nas.store import Store, StoreError
from nas.strategies import make_strategy
from nas.study import Study
from search_spaces.registry import UnknownName
from search_spaces.space import find_space


def settings(**fields: Any) -> Settings:
    return Settings(**({"strategy": "random", "schedule": "asha", "trials": 4} | fields))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("none", FIFOScheduler),
        ("asha", ASHAScheduler),
        ("hyperband", HyperBandForBOHB),
        ("pbt", PopulationBasedTraining),
        ("pb2", PB2),
    ],
)
def test_each_schedule_is_tunes_own(name: str, kind: type) -> None:
    check(settings(schedule=name))
    assert type(scheduler_of(settings(schedule=name))) is kind


def test_options_of_ours_reach_tunes_schedulers() -> None:
    asha: Any = scheduler_of(settings(schedule_options={"eta": 4}, epochs=16))
    assert sorted(rung for rung, _ in asha._brackets[0]._rungs) == [1, 4, 16]
    pbt: Any = scheduler_of(
        settings(schedule="pbt", schedule_options={"interval": 3, "quantile": 0.5, "resample": 0.0})
    )
    assert (pbt._perturbation_interval, pbt._quantile_fraction, pbt._resample_probability) == (3, 0.5, 0.0)
    pb2: Any = scheduler_of(settings(schedule="pb2", only=("training.optimizer=adamw",)))
    assert "training.optimizer:adamw.rate" in pb2._hyperparam_bounds_flat
    assert not [path for path in pb2._hyperparam_bounds_flat if ":sgd" in path]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        (
            {"schedule": "median_stop"},
            "--schedule median_stop is none of Ray Tune's: choose none, asha, hyperband, pbt",
        ),
        ({"schedule_options": {"interval": 2}}, "has no option 'interval'"),
        ({"schedule_options": {"eta": 1}}, "--schedule-option eta is 1"),
        ({"schedule": "pbt", "pbt_architecture": True}, "change no architecture in mid-training"),
        ({"schedule": "pbt", "schedule_options": {"architecture": True}}, "change no architecture in mid-training"),
        ({"schedule": "pbt", "space": "digits_bench"}, "nothing in space 'digits_bench' may change"),
        ({"screen": "gradsign:8"}, "--screen is not done by --engine tune"),
        ({"trial_timeout": 5.0}, "--trial-timeout is not done by --engine tune"),
        ({"keep_checkpoints": 2}, "--keep-checkpoints is not done"),
        ({"space": "digits_bench", "task": "table:digits_bench"}, "is looked up: use --engine nas"),
        ({"strategy": "one_shot"}, "trains supernets, which Tune does not"),
    ],
)
def test_what_tune_does_not_do_is_refused_in_a_line(fields: dict[str, Any], told: str) -> None:
    with pytest.raises((UserError, UnknownName)) as error:
        check(settings(**fields))
    assert told in str(error.value) and "\n" not in str(error.value)


def test_a_population_is_what_the_strategy_proposes_before_any_result() -> None:
    asked = settings(strategy="tpe", schedule="pbt", trials=6, seed=4)
    members = [read(find_space("kan_vision"), each) for each in population(asked, searcher_of(asked))]
    strategy = make_strategy("tpe", find_space("kan_vision"), 2, 4)
    proposals = [strategy.ask(turn) for turn in range(6)]
    assert [each.architecture for each in members] == [each.architecture for each in proposals if each]
    assert len({each.seed for each in members}) == 6


def test_a_population_larger_than_the_space_is_refused() -> None:
    few = settings(space="digits_bench", strategy="random", schedule="pbt", trials=10**4)
    with pytest.raises(SettingsError, match="needs all 10000 at once: use --strategy random, or fewer --trials"):
        population(few, searcher_of(few))


@pytest.fixture
def study(tmp_path: Path) -> Study:
    return Study.create(Store.open(f"sqlite:///{tmp_path}/nas.db", create=True), settings(), "one")


class Tuner:
    """Stands for Tune's, whose fit ends with an error."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def fit(self) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "told"),
    [
        (Interrupted(), KeyboardInterrupt, ""),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (Lost("it has not answered"), TuneRunError, "cannot go on with it (it has not answered)"),
        (TuneError("Traceback:\n  line\nValueError: odd"), TuneRunError, "Ray Tune gave up: ValueError: odd"),
        (ZeroDivisionError("x"), ZeroDivisionError, "x"),
    ],
)
def test_how_a_run_may_end(study: Study, error: BaseException, kind: type[BaseException], told: str) -> None:
    with pytest.raises(kind) as caught:
        _fit(Tuner(error), StoreCallback(study.store, "one"))  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_an_error_of_the_store_is_told_and_not_tunes_text_of_it(study: Study) -> None:
    callback = StoreCallback(study.store, "one")
    callback.error = StoreError("the disk is full")
    with pytest.raises(StoreError, match="the disk is full"):
        _fit(Tuner(TuneError("Traceback ... StoreError: the disk is full")), callback)  # type: ignore[arg-type]


def test_only_a_study_that_tune_ran_is_not_gone_on_with(study: Study) -> None:
    refuse_resume(study)
    with study.store.writing(study.row.id) as writer:
        writer.settings(study.row.settings | {"engine": "tune"})
    with pytest.raises(StoreError, match="start a new study with `nas search --engine tune --study NAME`"):
        refuse_resume(study)


def test_tunes_files_lie_in_the_studys_folder_and_are_removed(study: Study, tmp_path: Path) -> None:
    with files(study) as place:
        assert Path(place).parent == study.store.folder("one")
        (Path(place) / "run").mkdir(parents=True)
    assert not Path(place).exists()


def test_tunes_files_in_a_storage_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = tmp_path / "shared" / "one" / "00000"
    kept.mkdir(parents=True)
    store = Store.open(f"sqlite:///{tmp_path}/nas.db", create=True)
    study = Study.create(store, settings(storage=f"file://{tmp_path}/shared"), "one")
    with files(study) as place:
        assert place == f"file://{tmp_path}/shared/one/tune"
        (tmp_path / "shared" / "one" / "tune" / "run").mkdir(parents=True)
    assert kept.exists() and not (tmp_path / "shared" / "one" / "tune").exists()


@pytest.mark.parametrize("verbose", [True, False])
def test_the_surroundings_are_as_before_when_it_is_over(verbose: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNE_GLOBAL_CHECKPOINT_S", "7")
    monkeypatch.delenv("RAY_AIR_NEW_OUTPUT", raising=False)
    logger, before = logging.getLogger("ray.tune"), logging.getLogger("ray.tune").level
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with quiet(verbose):
            assert all(os.environ[name] == value for name, value in QUIET.items())
            assert (logger.level == logging.CRITICAL) == (not verbose)
            warnings.warn("loud", stacklevel=1)
        assert len(seen) == verbose
    assert os.environ["TUNE_GLOBAL_CHECKPOINT_S"] == "7" and "RAY_AIR_NEW_OUTPUT" not in os.environ
    assert logger.level == before


def test_the_callers_random_numbers_go_on_as_if_nothing_had_been() -> None:
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.random()
    random.seed(1)
    np.random.seed(1)
    with seeded(9):
        first = random.random(), np.random.random()
    with seeded(9):
        assert (random.random(), np.random.random()) == first != expected
    assert (random.random(), np.random.random()) == expected


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted_and_the_second_ends_at_once(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt), noting_signals() as came:
        assert not came()
        os.kill(os.getpid(), number)
        assert came()
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
