"""A search that is killed at any moment goes on as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from nas.store import State, Store, queries
from nas.store.models import Event, Metric, Trial
from nas.study import open_study

TRIALS, EPOCHS = 40, 3
ASKED = f"--trials {TRIALS} --epochs {EPOCHS} --schedule asha --constraint params<=60000 --seed 5"
SEARCH = ["search", *ASKED.split(), "--workers", "1", "-q", "--study"]


def nas(folder: Path, *arguments: str) -> subprocess.Popen[bytes]:
    program = [sys.executable, "-c", "from nas.cli import main; main()", *arguments]
    return subprocess.Popen(program, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def facts(store: Store) -> list[tuple[Any, ...]]:
    """All that a study found out, less what depends on the clock."""
    study = queries.study(store, "killed")
    with store.engine.connect() as connection:
        metrics = connection.execute(
            sa.select(Trial.number, Metric.step, Metric.name, Metric.value)
            .join(Trial)
            .where(Metric.name != "seconds")
            .order_by(Trial.number, Metric.step, Metric.name)
        ).all()
    trials = queries.trials(store, study.id)
    return [(t.number, t.identity, t.state, t.values, t.reason, t.seed) for t in trials] + [tuple(m) for m in metrics]


def test_ten_kills_change_nothing(tmp_path: Path) -> None:
    calm, wild = tmp_path / "calm", tmp_path / "wild"
    calm.mkdir()
    wild.mkdir()
    reference = nas(calm, *SEARCH, "killed")
    rng, kills, command = random.Random(os.getpid()), 0, [*SEARCH, "killed"]
    while True:
        process = nas(wild, *command)
        if kills < 10:
            wait_for_work(process, wild)
            time.sleep(rng.uniform(0.0, 3.0))
            process.send_signal(signal.SIGKILL)
        _, errors = process.communicate(timeout=300)
        if process.returncode == -signal.SIGKILL:
            kills += 1
        else:
            assert process.returncode == 0, errors.decode()
            break
        command = ["resume", "killed", "-q", "--workers", "1"] if (wild / "nas.db").exists() else command
    assert reference.wait(timeout=300) == 0
    assert kills == 10
    store = Store.open(f"sqlite:///{wild}/nas.db")
    study = open_study("killed", store.url)
    rows = study.trials()
    assert [row.number for row in rows] == list(range(TRIALS))
    assert len({row.identity for row in rows}) == TRIALS
    assert all(row.state.ended for row in rows)
    for row in rows:
        steps = [step for step, _ in queries.curves(store, row.id).get("val_accuracy", [])]
        if row.state is State.COMPLETED:
            assert steps == list(range(1, EPOCHS + 1))
            assert (study.store.folder("killed") / queries.artifacts(store, row.id)["weights"]).is_file()
    with store.engine.connect() as connection:
        told = connection.execute(sa.select(sa.func.count()).where(Event.kind == "told")).scalar()
    assert told == TRIALS
    assert any(len(queries.attempts(store, row.id)) > 1 for row in rows), "no kill hit a running trial"
    assert facts(store) == facts(Store.open(f"sqlite:///{calm}/nas.db"))


def wait_for_work(process: subprocess.Popen[bytes], folder: Path) -> None:
    """Wait until this process has begun an attempt of its own, or has ended."""
    begin = time.time()
    while process.poll() is None and time.time() - begin < 120:
        with (
            suppress(sqlite3.OperationalError),
            closing(sqlite3.connect(f"file:{folder}/nas.db?mode=ro", uri=True)) as db,
        ):
            if db.execute("SELECT count(*) FROM attempt WHERE started > ?", (begin,)).fetchone()[0]:
                return
        time.sleep(0.05)
