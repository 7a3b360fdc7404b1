"""The rough life of a search: what the tally finds wrong, and a short one in which each kind of thing is killed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import chaos
import large
import pytest
from postgres import Postgres
from tally import WATCH, tally

from nas.store import Store

TRIALS = 40
HEALTHY = {"lost": 0, "twice": 0, "again": 0, "missing": 0, "unlike": 0}
HARMS = {
    "a trial that is gone": ("DELETE FROM trial WHERE number = 7", {"lost": 1}),
    "a trial beyond the last": ("UPDATE trial SET number = 40 WHERE id = 1", {"lost": 2}),
    "a trial that runs for ever": (
        "UPDATE trial SET state = 'RUNNING' WHERE id = 1",
        {"lost": 1, "twice": 1},
    ),
    "a trial that ended twice": (
        "UPDATE trial SET state = 'RUNNING' WHERE id = 1; "
        "UPDATE trial SET state = 'COMPLETED' WHERE id = 1; "
        "UPDATE trial SET state = 'COMPLETED' WHERE id = 1",
        {"twice": 3},
    ),
    "an architecture that was trained twice": (
        "UPDATE trial SET identity = (SELECT identity FROM trial WHERE id = 1) WHERE id = 2",
        {"twice": 1},
    ),
    "an epoch that was trained again": (
        "UPDATE metric SET value = value + 1 WHERE trial_id = 1 AND step = 3 AND name = 'seconds'",
        {"again": 1},
    ),
    "the last epoch that was trained again": (
        "UPDATE metric SET value = value + 1 WHERE trial_id = 1 AND step = 8 AND name = 'seconds'",
        {"again": 1, "twice": 1},
    ),
    "metrics that were said again": ("UPDATE metric SET value = value WHERE trial_id = 1", {}),
    "a metric that is not there": (
        "DELETE FROM metric WHERE trial_id = 1 AND step = 8 AND name IN ('rate', 'val_loss')",
        {"missing": 2},
    ),
    "an objective without a value": (
        "DELETE FROM value WHERE trial_id = 1 AND name = 'params'",
        {"unlike": 1},
    ),
    "an attempt that is not there": ("UPDATE attempt SET number = 5 WHERE trial_id = 1", {"unlike": 1}),
    "an attempt without an end": ("UPDATE attempt SET ended = NULL WHERE trial_id = 1", {"unlike": 1}),
}


@pytest.fixture
def counted(postgres: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], dict[str, int]]:
    """Make a watched study, do something to it in SQL, and count what is wrong then."""
    monkeypatch.chdir(tmp_path)
    url = postgres.create()
    name = url.rpartition("/")[2]
    Store.open(url, create=True).engine.dispose()
    postgres.sql(name, WATCH)
    large.make(url, TRIALS)

    def count(harm: str) -> dict[str, int]:
        if harm:
            postgres.sql(name, harm)
        return tally(lambda statement: postgres.sql(name, statement), TRIALS, large.EPOCHS, chaos.METRICS, 2).faults

    return count


def test_nothing_is_wrong_with_a_calm_study(counted: Callable[[str], dict[str, int]]) -> None:
    assert counted("") == HEALTHY


@pytest.mark.parametrize("harm", HARMS)
def test_the_tally_finds(counted: Callable[[str], dict[str, int]], harm: str) -> None:
    statement, found = HARMS[harm]
    assert counted(statement) == HEALTHY | found


@pytest.mark.slow
@pytest.mark.ray
def test_a_search_comes_through_a_short_rough_life(postgres: Postgres) -> None:
    report = chaos.live(postgres, trials=16, every=5.0, seconds=32.0)
    assert report.kills.keys() == {"worker", "node", "driver", "database"}, report
    assert report.tally.faults == HEALTHY and report.unlike == [], report
    assert report.summary["COMPLETED"] == report.trials >= 16, report
