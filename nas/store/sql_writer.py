"""Writing to a study in SQL."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from functools import cache
from itertools import groupby
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, CursorResult

from nas.store.batch import Batch
from nas.store.models import Artifact, Attempt, Base, Event, Metric, Score, State, Study, Trial, Value
from nas.store.writing import News
from search_spaces.decisions import Architecture

IDS = 16

Key = tuple[Any, ...]
Row = dict[str, Any]


class SqlWriter:
    """Writes to a study inside one transaction, for a driver where one is named; a `Writer`.

    What is written is gathered until `flush`, before the transaction ends: the new rows of a table are one statement
    then, and a row that is changed several times is written as it is at last. `ids` are those that a server has set
    aside for the driver's trials.
    """

    def __init__(
        self,
        connection: Connection,
        study: int,
        driver: int | None = None,
        news: Sequence[News] = (),
        ids: deque[int] | None = None,
    ) -> None:
        self.news = news
        self.last_event = 0
        self._connection = connection
        self._dialect = connection.dialect.name
        self._study = study
        self._driver = driver
        self._ids = deque[int]() if ids is None else ids
        self._last_id: int | None = None
        self._rows: dict[type[Base], dict[Key, Row]] = {model: {} for model in _KEYS}
        self._changes: dict[type[Base], dict[Key, Row]] = {Trial: {}, Attempt: {}}
        self._events: list[Row] = []

    def add_trial(
        self,
        number: int,
        architecture: Architecture,
        identity: str,
        key: str,
        seed: int,
        *,
        kind: str = "search",
        repeat: int = 0,
        parent: int | None = None,
        forked_at: int | None = None,
    ) -> int:
        """Add a waiting trial and return its id."""
        trial = self._new_id()
        self._rows[Trial][(trial,)] = {
            "id": trial,
            "study_id": self._study,
            "number": number,
            "kind": kind,
            "state": State.WAITING,
            "architecture": architecture,
            "identity": identity,
            "key": key,
            "repeat": repeat,
            "parent": parent,
            "seed": seed,
            "reason": None,
            "created": time.time(),
            "ended": None,
            "forked_at": forked_at,
            "driver": self._driver,
        }
        return trial

    def claim(self, trial: int) -> bool:
        """Take a trial that is to be run into this driver's hands; False where another has it, or it is done."""
        self.flush()
        given = {"trial": trial, "mine": self._driver}
        return cast("CursorResult[Any]", self._connection.execute(_CLAIM, given)).rowcount == 1

    def start(self, trial: int, attempt: int, worker: str, device: str) -> None:
        """Note that a worker begins an attempt of a trial."""
        self._rows[Attempt][trial, attempt] = {
            "trial_id": trial,
            "number": attempt,
            "worker": worker,
            "device": device,
            "started": time.time(),
            "ended": None,
            "error": None,
        }
        self._change(Trial, trial, state=State.RUNNING)

    def pause(self, trial: int, attempt: int) -> None:
        """Note that a trial waits for others, in nobody's hands, and its worker is free."""
        self._change(Attempt, trial, attempt, ended=time.time(), error=None)
        self._change(Trial, trial, state=State.PAUSED, driver=None)

    def release(self, trial: int) -> None:
        """Note that a paused trial is to go on, in this driver's hands."""
        self._change(Trial, trial, state=State.WAITING, driver=self._driver)

    def report(self, trial: int, step: int, metrics: dict[str, float]) -> None:
        """Keep the metrics of a step; a step reported again, after an interruption, replaces itself."""
        for name, value in metrics.items():
            row = {"trial_id": trial, "step": step, "name": name, "value": value}
            self._rows[Metric][trial, step, name] = row

    def end(
        self,
        trial: int,
        attempt: int,
        state: State,
        *,
        values: dict[str, float] | None = None,
        reason: str | None = None,
        error: str | None = None,
    ) -> None:
        """Note how a trial, and this attempt of it, ended."""
        now = time.time()
        self._change(Attempt, trial, attempt, ended=now, error=error)
        self._change(Trial, trial, state=state, ended=now, reason=reason)
        for name, value in (values or {}).items():
            self._rows[Value][trial, name] = {"trial_id": trial, "name": name, "value": value}

    def mark(self, trial: int, state: State) -> None:
        """Set a trial's state alone."""
        self._change(Trial, trial, state=state)

    def lose(self, trial: int, attempt: int, why: str) -> None:
        """Note that the worker of an attempt vanished."""
        self._change(Attempt, trial, attempt, ended=time.time(), error=why)
        self._change(Trial, trial, state=State.STALE)

    def artifact(self, trial: int, kind: str, path: str, sha256: str, size: int) -> None:
        """Note a file that a trial left."""
        row = {"trial_id": trial, "kind": kind, "path": path, "sha256": sha256, "size": size}
        self._rows[Artifact][trial, kind] = row

    def drop_artifact(self, trial: int, kind: str) -> None:
        """Forget a file that is no more."""
        self._rows[Artifact].pop((trial, kind), None)
        gone = sa.delete(Artifact).where(Artifact.trial_id == trial, Artifact.kind == kind)
        self._connection.execute(gone)

    def score(
        self, identity: str, predictor: str, value: float | None, seconds: float, reason: str | None = None
    ) -> None:
        """Keep a predictor's score of an architecture; the same one scored again replaces itself."""
        self._rows[Score][identity, predictor] = {
            "study_id": self._study,
            "identity": identity,
            "predictor": predictor,
            "value": value,
            "seconds": seconds,
            "reason": reason,
        }

    def event(self, kind: str, payload: dict[str, Any], trial: int | None = None) -> None:
        """Append to the study's order of asks, tells and verdicts."""
        row = {"study_id": self._study, "trial_id": trial, "kind": kind, "payload": payload, "at": time.time()}
        self._events.append(row)

    def settings(self, settings: dict[str, Any]) -> None:
        """Replace the study's settings (a larger number of trials on resume)."""
        change = sa.update(Study).where(Study.id == self._study).values(settings=settings)
        self._connection.execute(change)

    def flush(self) -> None:
        """Write what was gathered: a trial before what belongs to it, and the events last."""
        batch = Batch(self._connection)
        for model, rows in self._rows.items():
            batch.add(_insert(model, self._dialect), list(rows.values()))
            rows.clear()
        for model, changes in self._changes.items():
            for columns, alike in groupby(sorted(changes.items(), key=_columns), key=_columns):
                batch.add(_update(model, columns), [_bound(model, key, row) for key, row in alike])
            changes.clear()
        if self._events:
            batch.add(_INSERT_EVENT, self._events)
            if self._dialect != "sqlite":
                batch.add(_LAST_EVENT, [{"study": self._study}])
        last = batch.execute()
        if self._events and last is not None:
            self.last_event = last[0]
        self._events = []

    def _new_id(self) -> int:
        """Return the id of a new trial, which so has one before it is written.

        A server sets ids aside for good. A file that has a transaction begun is written to by nobody else.
        """
        if self._dialect != "sqlite":
            if not self._ids:
                self._ids.extend(self._connection.exec_driver_sql(_SET_ASIDE).scalars())
            return self._ids.popleft()
        if self._last_id is None:
            driver: Any = self._connection.connection.driver_connection
            if not driver.in_transaction:
                self._connection.exec_driver_sql("BEGIN IMMEDIATE")
            self._last_id = self._connection.exec_driver_sql("SELECT max(id) FROM trial").scalar() or 0
        self._last_id += 1
        return self._last_id

    def _change(self, model: type[Base], *key: int, **columns: Any) -> None:
        row = self._rows[model].get(key)
        if row is None:
            row = self._changes[model].setdefault(key, {})
        row |= columns


# In the order in which they may refer to each other.
_KEYS: dict[type[Base], list[str]] = {
    Trial: ["id"],
    Attempt: ["trial_id", "number"],
    Metric: ["trial_id", "step", "name"],
    Value: ["trial_id", "name"],
    Artifact: ["trial_id", "kind"],
    Score: ["study_id", "identity", "predictor"],
}
_REPLACED = {Metric: ["value"], Score: ["value", "seconds", "reason"]}
_INSERT_EVENT = sa.insert(Event).inline()
_LAST_EVENT = sa.select(sa.func.max(Event.id)).where(Event.study_id == sa.bindparam("study"))
_CLAIM = (
    sa.update(Trial)
    .where(Trial.id == sa.bindparam("trial"))
    .where(Trial.state.in_((State.WAITING, State.RUNNING, State.STALE)))
    .where(Trial.driver.is_(None) | (Trial.driver == sa.bindparam("mine")))
    .values(driver=sa.bindparam("mine"))
)
_SET_ASIDE = f"SELECT nextval(pg_get_serial_sequence('trial', 'id')) FROM generate_series(1, {IDS})"


@cache
def _insert(model: type[Base], dialect: str) -> sa.Insert:
    """Return the statement that inserts a row, which replaces the one with its key where that may be."""
    if model not in _REPLACED:
        return sa.insert(model).inline()
    insert = sqlite.insert(model) if dialect == "sqlite" else postgresql.insert(model)
    change = {name: insert.excluded[name] for name in _REPLACED[model]}
    return insert.on_conflict_do_update(index_elements=_KEYS[model], set_=change)


@cache
def _update(model: type[Base], columns: tuple[str, ...]) -> sa.Update:
    """Return the statement that changes columns of the row with a key."""
    table = model.__table__.c
    found = [table[name] == sa.bindparam(f"key_{name}") for name in _KEYS[model]]
    return sa.update(model).where(*found).values({name: sa.bindparam(f"new_{name}") for name in columns})


def _columns(change: tuple[Key, Row]) -> tuple[str, ...]:
    return tuple(change[1])


def _bound(model: type[Base], key: Key, row: Row) -> Row:
    found = {f"key_{name}": value for name, value in zip(_KEYS[model], key, strict=True)}
    return found | {f"new_{name}": value for name, value in row.items()}
