from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest

from nas.settings import Screen, Settings, SettingsError

UNLIKE = Settings(
    space="other",
    task="faces",
    objectives=("loss", "flops"),
    constraints=("params<=3",),
    strategy="gp",
    strategy_options={"population": 50},
    schedule="hyperband",
    schedule_options={"eta": 2},
    screen="gradsign:4",
    only=("network.stages#=2",),
    trials=7,
    epochs=3,
    seed=5,
    split_seed=6,
    pbt_architecture=True,
    replay={"format": "nas-schedule"},
    trial_timeout=60.0,
    keep_checkpoints=2,
    storage="s3://bucket",
    cpus_per_trial=0.5,
    gpus_per_trial=0.25,
)


def test_settings_survive_json() -> None:
    assert all(getattr(UNLIKE, field.name) != getattr(Settings(), field.name) for field in fields(Settings))
    assert Settings.from_json(json.loads(json.dumps(UNLIKE.to_json()))) == UNLIKE


def test_settings_of_an_older_and_a_newer_version_are_read() -> None:
    assert Settings.from_json({"epochs": 3, "tree": {}, "colour": "blue"}) == Settings(epochs=3)


@pytest.mark.parametrize("field", [field.name for field in fields(Settings)])
def test_every_setting_but_the_number_of_trials_makes_a_difference(field: str) -> None:
    other = replace(Settings(), **{field: getattr(UNLIKE, field)})
    mine, theirs = Settings().to_json()[field], UNLIKE.to_json()[field]
    expected = [] if field == "trials" else [f"{field} {theirs!r} instead of {mine!r}"]
    assert Settings().differences(other) == expected


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"trials": 0}, "--trials 0 is not allowed: it must be at least 1"),
        ({"epochs": -3}, "--epochs -3 is not allowed: it must be at least 1"),
        ({"trial_timeout": 0.0}, "--trial-timeout 0 is not allowed: give seconds above 0"),
        ({"trial_timeout": float("nan")}, "--trial-timeout nan is not allowed"),
        ({"keep_checkpoints": -1}, "--keep-checkpoints -1 is not allowed: it must be at least 0"),
        ({"cpus_per_trial": 0.0}, "--cpus-per-trial 0 is not allowed: give a share above 0, as 0.5"),
        ({"gpus_per_trial": -1.0}, "--gpus-per-trial -1 is not allowed"),
        ({"objectives": ()}, "needs at least one --objective"),
        ({"objectives": ("params", "params")}, "--objective names params, params: name each one once"),
    ],
)
def test_settings_that_make_no_sense_are_refused(bad: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Settings(**bad)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "predictors", "count"),
    [
        ("gradsign:8", "gradsign", 8),
        ("10", "consensus", 10),
        ("gradsign+params:1000", "gradsign+params", 1000),
        ("learned:gradsign+params:2", "learned:gradsign+params", 2),
    ],
)
def test_a_screen_is_read(text: str, predictors: str, count: int) -> None:
    assert Screen.parse(text) == Screen(predictors, count)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1001",
        "gradsign",
        "gradsign:",
        ":8",
        "gradsign:1",
        "gradsign:-2",
        "gradsign:2.5",
        "gradsign:1001",
        "a:b",
    ],
)
def test_what_is_no_screen_is_refused(text: str) -> None:
    with pytest.raises(
        SettingsError, match="does not parse: write predictors and 2 to 1000 proposals, as gradsign:8 or "
    ):
        Screen.parse(text)
