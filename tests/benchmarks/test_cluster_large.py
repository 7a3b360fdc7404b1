"""The study of many trials that the benchmark makes is as a driver would have written it, and can be gone on with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import large
import pytest
import sqlalchemy as sa

from nas.execution.inline import Inline
from nas.settings import Settings
from nas.store import State, Store
from nas.store.models import Event, Metric, Trial
from nas.study import Study, open_study

SMALL = ("network.stem.width=8", "network.stages#=1", "network.stages[*].layer=conv2d", "training.batch=128")


def shape(store: Store, trial: int) -> dict[str, Any]:
    """Say what a store has of a trial: per table the columns that are not empty, and what names and keys there are."""
    found: dict[str, Any] = {}
    with store.engine.connect() as connection:
        for table in large.TABLES:
            key = table.id if table is Trial else table.trial_id
            rows = connection.execute(sa.select(*table.__table__.c).where(key == trial)).mappings().all()
            found[table.__tablename__] = [{name for name, value in row.items() if value is not None} for row in rows]
        metrics = sa.select(Metric.step, Metric.name).where(Metric.trial_id == trial)
        found["steps"] = sorted(map(tuple, connection.execute(metrics)))
        events = connection.execute(sa.select(Event.kind, Event.payload).where(Event.trial_id == trial))
        found["events"] = [(kind, {key: type(value) for key, value in payload.items()}) for kind, payload in events]
    return found


@pytest.mark.slow
def test_a_made_trial_is_written_as_a_trained_one(tmp_path: Path) -> None:
    trained = Store.open(f"sqlite:///{tmp_path}/trained.db", create=True)
    settings = Settings(strategy="random", trials=1, epochs=large.EPOCHS, only=SMALL)
    Study.create(trained, settings, "one").run(Inline())
    large.make(f"sqlite:///{tmp_path}/made.db", 8)
    made = open_study(large.NAME, f"sqlite:///{tmp_path}/made.db")
    completed = next(row for row in made if row.state is State.COMPLETED)
    real = shape(trained, 1)
    real["trial"][0] -= {"driver"}  # the hand that had it
    assert shape(made.store, completed.id) == real


@pytest.mark.slow
def test_a_made_study_has_its_trials_and_goes_on(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/made.db"
    large.make(url, 150)
    made = open_study(large.NAME, url)
    assert [row.number for row in made] == list(range(150))
    assert {row.state for row in made} == {State.COMPLETED, State.INFEASIBLE, State.FAILED}
    assert all(made.space.trace(row.architecture) for row in made) and len({row.identity for row in made}) == 150
    assert made.front()
    gone_on = large.cost(url, "tpe", 3)
    assert 0 < gone_on.ready < 100 and gone_on.trial > 0 and gone_on.peak > 50 * 2**20
    rows = open_study(large.NAME, url).trials()
    assert [row.number for row in rows] == list(range(153))
    assert {row.state for row in rows[150:]} == {State.COMPLETED}
    assert large.show(url) > 0
