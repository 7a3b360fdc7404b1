"""Our evaluation as a Tune Trainable, in this process: the same figures as `evaluate` gives, checkpoints and resets."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_runs import register
from ray import tune
from ray.tune.trainable import trainable as base
from tiny_space import ADAMW, SGD, TINY, architecture, job

from nas.integrations.tune.configs import ConfigError
from nas.integrations.tune.evaluating import Evaluating, TrialFailed, known, trainable
from nas.integrations.tune.folders import CheckpointFolderError
from nas.job import Evaluation, Job, Origin, Outcome, OutOfMemory, Report
from nas.training.evaluate import evaluate
from nas.training.names import CHECKPOINT, retained
from nas.training.weights import read_weights
from search_spaces.decisions import Integer, Struct
from search_spaces.space import Space

EPOCHS = 4
Make = Callable[..., Evaluating]


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    register(monkeypatch, TINY)
    monkeypatch.setattr(base, "DEFAULT_STORAGE_PATH", str(tmp_path / "ray_results"))


@pytest.fixture
def make() -> Iterator[Make]:
    """Give a function that makes the trainable of a config; all are cleaned up at the end."""
    made: list[Evaluating] = []

    def one(config: dict[str, Any], **options: Any) -> Evaluating:
        built = trainable(TINY, "digits", **({"epochs": EPOCHS, "seed": 7} | options))
        made.append(built(config=dict(config)))  # type: ignore[arg-type]
        return made[-1]

    yield one
    for each in made:
        each.stop()


def directly(folder: Path, **fields: Any) -> list[dict[str, float]]:
    """Return the metrics of each epoch as `evaluate` reports them, less what a clock says."""
    fields = {"epochs": EPOCHS} | fields
    reports = [report for report in evaluate(job(folder, **fields)) if report.step]
    return [{name: value for name, value in each.metrics.items() if name != "seconds"} for each in reports]


def metrics(result: dict[str, Any]) -> dict[str, float]:
    return {name: value for name, value in result["nas"]["metrics"].items() if name != "seconds"}


def test_a_step_is_an_epoch_and_reports_what_our_evaluation_does(make: Make, tmp_path: Path) -> None:
    trial = make(TINY.trace(architecture()))
    results = [trial.train() for _ in range(EPOCHS)]
    expected = directly(tmp_path / "direct")
    assert [metrics(each) for each in results] == expected
    assert [each["training_iteration"] for each in results] == [1, 2, 3, 4]
    assert [each["done"] for each in results] == [False, False, False, True]
    for result, epoch in zip(results, expected, strict=True):
        assert (result["val_accuracy"], result["val_loss"]) == (epoch["val_accuracy"], epoch["val_loss"])
        assert (result["accuracy"], result["infeasible"]) == (epoch["val_accuracy"], False)
        # A convolution of 3x3 on one channel to 4, their norm, and a linear from 4x8x8 to 10.
        assert result["params"] == 4 * 9 + 4 + 8 + 4 * 64 * 10 + 10
    assert [each["nas"]["state"] for each in results] == ["RUNNING"] * 3 + ["COMPLETED"]


def test_a_completed_trial_leaves_its_weights_in_its_checkpoint(make: Make, tmp_path: Path) -> None:
    trial = make(architecture())
    while not (result := trial.train())["done"]:
        assert "should_checkpoint" not in result
    assert result["should_checkpoint"]
    saved = Path(trial.save(str(tmp_path / "saved")).checkpoint.path)
    tensors, facts = read_weights(saved / "weights.safetensors")
    direct = tmp_path / "direct" / "trial"
    directly(direct)
    expected, _ = read_weights(direct / "weights.safetensors")
    assert tensors.keys() == expected.keys() and all((tensors[name] == expected[name]).all() for name in expected)
    assert facts["seed"] == 7 and facts["epochs"] == EPOCHS


def test_from_its_checkpoint_a_trial_goes_on_as_if_it_had_never_stopped(make: Make, tmp_path: Path) -> None:
    config = TINY.trace(architecture(SGD, "shift"))
    first = make(config)
    before = [metrics(first.train()) for _ in range(2)]
    saved = first.save(str(tmp_path / "saved"))
    first.stop()
    second = make(config)
    second.restore(saved)
    after = [second.train() for _ in range(2)]
    assert [each["training_iteration"] for each in after] == [3, 4] and after[-1]["done"]
    expected = directly(tmp_path / "direct", architecture=architecture(SGD, "shift"))
    assert before + [metrics(each) for each in after] == expected


def test_a_checkpoint_is_read_without_pickle_and_holds_ours(make: Make, tmp_path: Path) -> None:
    trial = make(architecture())
    trial.train()
    saved = Path(trial.save(str(tmp_path / "saved")).checkpoint.path)
    assert sorted(path.name for path in saved.iterdir()) == [CHECKPOINT, "trial.json"]
    facts = json.loads((saved / "trial.json").read_text())
    assert (facts["step"], facts["seed"], facts["architecture"]) == (1, 7, architecture())


def test_under_another_config_a_checkpoint_begins_a_fork(make: Make, tmp_path: Path) -> None:
    """As PBT exploits: weights and epochs of the other trial, its own rate and seed."""
    source, child = architecture(ADAMW), architecture({"adamw": {"rate": 0.002, "weight_decay": 0.05}}, batch=64)
    first = make(source)
    first.train(), first.train()
    saved = first.save(str(tmp_path / "saved"))
    folder = tmp_path / "study" / "00000"
    folder.mkdir(parents=True)
    shutil.copyfile(Path(saved.checkpoint.path) / CHECKPOINT, folder / retained(2))
    assert first.reset(child | {"nas.seed": 11})
    first.restore(saved)
    results = [first.train() for _ in range(2)]
    forked = directly(tmp_path / "study" / "00001", architecture=child, seed=11, origin=Origin(folder, 2, source, 7))
    assert [each["training_iteration"] for each in results] == [3, 4]
    assert [metrics(each) for each in results] == forked and len(forked) == 2
    assert forked != directly(tmp_path / "fresh", architecture=child, seed=11)[2:]


def test_another_trial_in_the_same_process_is_as_in_a_new_one(make: Make, tmp_path: Path) -> None:
    one, other = architecture(), architecture(SGD, width=3)
    trial = make(one)
    trial.train()
    assert trial.reset(TINY.trace(other))
    results = [trial.train() for _ in range(EPOCHS)]
    assert [metrics(each) for each in results] == directly(tmp_path / "direct", architecture=other)
    assert [each["iterations_since_restore"] for each in results] == [1, 2, 3, 4]


def test_a_trial_leaves_no_files_behind(make: Make) -> None:
    trial = make(architecture())
    trial.train()
    folders = [trial._job.folder.parent]
    assert (folders[0] / "trial" / CHECKPOINT).exists()
    trial.reset(architecture(SGD))
    folders.append(trial._job.folder.parent)
    trial.train()
    trial.stop()
    assert folders[0] != folders[1] and not any(folder.exists() for folder in folders)


def test_a_seed_in_the_config_is_the_trials(make: Make, tmp_path: Path) -> None:
    trial = make(architecture() | {"nas.seed": 3})
    assert metrics(trial.train()) == directly(tmp_path / "direct", seed=3)[0] != directly(tmp_path / "other")[0]


def test_what_was_moved_into_range_is_trained_with_and_told(make: Make, tmp_path: Path) -> None:
    trial = make(TINY.trace(architecture()) | {"training.label_smoothing": 0.24})
    result = trial.train()
    assert result["nas"]["moved"] == "training.label_smoothing 0.24 -> 0.2"
    assert metrics(result) == directly(tmp_path / "direct", architecture=architecture(label_smoothing=0.2))[0]


def test_what_breaks_a_constraint_is_done_at_once_and_no_error(make: Make) -> None:
    result = make(architecture(), constraints=["params<=100"]).train()
    assert result["done"] and result["infeasible"] and result["training_iteration"] == 0
    assert result["nas"]["state"] == "INFEASIBLE" and result["nas"]["reason"] == "params 2,618 breaks params<=100"
    assert result["params"] == 2618
    assert all(math.isnan(result[name]) for name in ("accuracy", "val_accuracy", "val_loss"))


def test_what_diverges_is_infeasible(make: Make) -> None:
    trial = make(architecture({"sgd": {"rate": 1e3, "momentum": 0.99, "weight_decay": 0.1}}, warmup=0.0))
    for _ in range(EPOCHS):
        if (result := trial.train())["done"]:
            break
    assert result["infeasible"] and result["nas"]["reason"].startswith("diverged") and math.isnan(result["accuracy"])


def test_without_trained_objectives_nothing_is_trained(make: Make) -> None:
    trial = make(architecture(), objectives=["params"])
    result = trial.train()
    assert result["done"] and result["params"] == 2618 and result["training_iteration"] == 0
    assert not trial._job.folder.exists()


def failing(job: Job) -> Evaluation:
    yield Report(0, {"params": 1.0})
    yield Report(1, {"val_accuracy": 0.5, "val_loss": 1.0})
    raise ValueError("a bad shape\nand more")


def test_an_error_is_raised_or_where_that_is_asked_reported(make: Make) -> None:
    trial = make(architecture(), evaluate=failing)
    trial.train()
    with pytest.raises(TrialFailed, match="ValueError: a bad shape") as error:
        trial.train()
    assert "in failing" in str(error.value)
    trial = make(architecture(), evaluate=failing, raises=False)
    trial.train()
    result = trial.train()
    assert result["done"] and result["nas"]["state"] == "FAILED" and math.isnan(result["accuracy"])
    assert result["nas"]["reason"] == "ValueError: a bad shape" and "in failing" in result["nas"]["error"]


def test_a_trial_without_memory_is_infeasible_and_the_next_one_runs(make: Make) -> None:
    def obey(job: Job) -> Evaluation:
        yield Report(0, {"params": 1.0})
        if job.seed == 1:
            raise OutOfMemory("out of memory: 9 GiB")
        yield Report(1, {"val_accuracy": 0.5, "val_loss": 1.0})

    trial = make(architecture() | {"nas.seed": 1}, evaluate=obey)
    result = trial.train()
    assert result["infeasible"] and result["nas"]["reason"] == "out of memory: 9 GiB" and result["params"] == 1.0
    assert trial.reset(architecture()) and trial.train()["accuracy"] == 0.5


def test_an_epoch_that_an_evaluation_reports_again_is_no_step(make: Make, tmp_path: Path) -> None:
    def short(job: Job) -> Evaluation:
        for step in range(job.epochs + 1):
            yield Report(step, {"params": 1.0} if step == 0 else {"val_accuracy": step / 10, "val_loss": 1.0})
        return Outcome({"accuracy": job.epochs / 10, "params": 1.0})

    trial = make(architecture(), evaluate=short)
    trial.train(), trial.train()
    saved = trial.save(str(tmp_path / "saved"))
    trial.reset(architecture())
    trial.restore(saved)
    result = trial.train()
    assert (result["training_iteration"], result["accuracy"], result["params"]) == (3, 0.3, 1.0)


def test_restored_in_the_middle_of_a_trial_it_leaves_that(make: Make, tmp_path: Path) -> None:
    trial = make(architecture())
    expected = [metrics(trial.train())]
    saved = trial.save(str(tmp_path / "saved"))
    expected.append(metrics(trial.train()))
    trial.train()
    trial.restore(saved)
    assert metrics(trial.train()) == expected[1]


@pytest.mark.parametrize(("name", "value"), [("task", "other"), ("epochs", 3), ("space", "tinier")])
def test_a_checkpoint_of_other_work_is_refused(make: Make, tmp_path: Path, name: str, value: Any) -> None:
    trial = make(architecture())
    trial.train()
    saved = trial.save(str(tmp_path / "saved"))
    file = Path(saved.checkpoint.path) / "trial.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {name: value}))
    trial.reset(architecture())
    with pytest.raises(CheckpointFolderError, match=f"belongs to {name} {value!r}, but this trial has"):
        trial.restore(saved)
    file.unlink()
    with pytest.raises(CheckpointFolderError, match="is no checkpoint of a trial"):
        trial.restore(saved)


def test_what_a_trial_takes() -> None:
    plain = trainable(TINY).default_resource_request({})
    assert plain.required_resources == {"CPU": 1}
    shared = trainable(TINY, cpus=0.5, gpus=0.25).default_resource_request({})
    assert shared.required_resources == {"CPU": 0.5, "GPU": 0.25}
    assert isinstance(plain, tune.PlacementGroupFactory)


def test_a_space_of_ones_own_is_registered_and_another_of_its_name_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    known(TINY)
    with pytest.raises(ConfigError, match="another space is registered as 'tiny'"):
        known(Space("tiny", "", Struct(x=Integer(1, 2)), lambda architecture, signature: pytest.fail("")))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"epochs": 0}, "epochs 0 is not allowed"),
        ({"constraints": ["params<x"]}, "does not parse"),
        ({"objectives": ["acuracy"]}, "did you mean accuracy"),
        ({"only": ["network.x=1"]}, "there is no decision 'network.x'"),
    ],
)
def test_what_cannot_be_is_refused_when_it_is_made(options: dict[str, Any], told: str) -> None:
    with pytest.raises(Exception, match=told):
        trainable(TINY, **options)


def test_a_wrong_config_is_refused_when_the_trial_begins(make: Make) -> None:
    with pytest.raises(ConfigError, match="lacks 'training'"):
        make({"network": architecture()["network"]})
