"""Makes a store with a few trials of each kind, by the code of whatever revision is on the path.

    git archive COMMIT | tar -x -C /tmp/old; cd /tmp/old
    PYTHONPATH=/tmp/old python .../tests/assets/make_store.py .../tests/assets/store_0002.db.gz

Each revision of the schema gets a file of its own before it is released, made by its own code; one that was released
is never made again. 0001 is of commit d843d56, 0002 of fddca3c.
"""

from __future__ import annotations

import gzip
import math
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nas
from nas.store import State, Store, Writer
from search_spaces.decisions import identity

BENCH = {"space": "digits_bench", "task": "table:digits_bench"}
EVERY = "every state"


def fill(folder: Path) -> Path:
    """Make a store in a folder: simulated searches, one of them with a schedule, and trials of every state."""
    path = folder / "nas.db"
    nas.search(**BENCH, store=f"sqlite:///{path}", study="random", trials=5, strategy="random", seed=1)
    asha: dict[str, Any] = {"schedule": "asha", "objectives": ("accuracy",)}
    nas.search(**BENCH, store=f"sqlite:///{path}", study="asha", trials=8, seed=2, **asha)
    store = Store.open(f"sqlite:///{path}")
    study = store.add_study(EVERY, {"objectives": ["accuracy", "loss"], "trials": 9, "space": "digits_bench"})
    for state in State:
        with store.writing(study) as writer:
            add(writer, list(State).index(state), state)
    with store.driving(EVERY), store.writing(study) as writer:
        confirm(writer)
    with closing(sqlite3.connect(path)) as log:
        assert log.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    return path


def add(writer: Writer, number: int, state: State) -> None:
    """Add a trial that came to a state, with figures that are not finite."""
    architecture = {"width": number, "rate": 0.1 * number}
    trial = writer.add_trial(number, architecture, identity(architecture), f"{number:064x}", 2**62 + number)
    writer.event("asked", {"turn": number, "note": {}}, trial)
    if state is State.WAITING:
        return
    writer.start(trial, 1, "ray-1", "cuda:0")
    writer.report(trial, 0, {"params": 1000.0 + number})
    loss = [math.nan, math.inf, -math.inf][number % 3]
    writer.report(trial, 1, {"val_accuracy": number / 8, "val_loss": loss})
    if state is State.STALE:
        writer.lose(trial, 1, "the worker was lost: gone")
    elif state is State.FAILED:
        writer.end(trial, 1, state, reason="ValueError: ünfit", error="Traceback:\n  ValueError: ünfit")
    elif state.ended:
        writer.end(trial, 1, state, values={"accuracy": number / 8, "loss": loss})
    else:
        writer.mark(trial, state)
    if state.ended:
        writer.event("told", {"turn": number}, trial)


def confirm(writer: Writer) -> None:
    """Add a confirmation with a file, scores and, where the revision has them, a fork."""
    number, architecture = len(State), {"width": 3, "rate": 0.1 * 3}
    who = identity(architecture)
    options: dict[str, Any] = {"kind": "confirm", "repeat": 1, "parent": 3}
    trial = writer.add_trial(number, architecture, who, f"{number:064x}", 7, **options)
    writer.start(trial, 1, "inline", "cpu")
    writer.end(trial, 1, State.COMPLETED, values={"accuracy": 0.25, "loss": 1.5})
    writer.artifact(trial, "weights", f"{number:05}/weights.safetensors", "ab" * 32, 12345)
    writer.score(who, "gradsign", 12.5, 0.1)
    writer.score("b" * 64, "gradsign", math.nan, 0.2)
    writer.score("c" * 64, "gradsign", None, 0.3, **known(writer.score, reason="it has no gradient"))
    if known(writer.add_trial, forked_at=1):
        fork = {"width": 3, "rate": 0.5}
        forked: dict[str, Any] = {"parent": 3, "forked_at": 1}
        writer.add_trial(number + 1, fork, identity(fork), f"{number + 1:064x}", 8, **forked)


def known(method: Callable[..., object], **argument: object) -> dict[str, Any]:
    """Return an argument that older revisions do not have, where this one has it."""
    return {name: value for name, value in argument.items() if name in signature(method).parameters}


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        Path(sys.argv[1]).write_bytes(gzip.compress(fill(Path(folder)).read_bytes(), 9, mtime=0))
