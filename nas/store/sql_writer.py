"""Writing to a study in SQL."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, cast

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection, CursorResult

from nas.store.models import Artifact, Attempt, Base, Event, Metric, Score, State, Study, Trial, Value
from nas.store.writing import News
from search_spaces.decisions import Architecture


class SqlWriter:
    """Writes to a study inside one transaction, for a driver where one is named; a `Writer`."""

    def __init__(
        self, connection: Connection, study: int, driver: int | None = None, news: Sequence[News] = ()
    ) -> None:
        self.news = news
        self.last_event = 0
        self._connection = connection
        self._study = study
        self._driver = driver

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
        row = {
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
            "created": time.time(),
            "forked_at": forked_at,
            "driver": self._driver,
        }
        inserted = self._connection.execute(_INSERT_TRIAL, row).inserted_primary_key
        assert inserted is not None
        return int(inserted[0])

    def claim(self, trial: int) -> bool:
        """Take a trial that is to be run into this driver's hands; False where another has it, or it is done."""
        given = {"trial": trial, "mine": self._driver}
        return cast("CursorResult[Any]", self._connection.execute(_CLAIM, given)).rowcount == 1

    def start(self, trial: int, attempt: int, worker: str, device: str) -> None:
        """Note that a worker begins an attempt of a trial."""
        row = {"trial_id": trial, "number": attempt, "worker": worker, "device": device, "started": time.time()}
        self._connection.execute(_INSERT_ATTEMPT, row)
        self._connection.execute(_SET_STATE, {"trial": trial, "to": State.RUNNING})

    def pause(self, trial: int, attempt: int) -> None:
        """Note that a trial waits for others, in nobody's hands, and its worker is free."""
        self._connection.execute(_END_ATTEMPT, {"trial": trial, "attempt": attempt, "at": time.time(), "text": None})
        self._connection.execute(_HAND, {"trial": trial, "to": State.PAUSED, "hand": None})

    def release(self, trial: int) -> None:
        """Note that a paused trial is to go on, in this driver's hands."""
        self._connection.execute(_HAND, {"trial": trial, "to": State.WAITING, "hand": self._driver})

    def report(self, trial: int, step: int, metrics: dict[str, float]) -> None:
        """Keep the metrics of a step; a step reported again, after an interruption, replaces itself."""
        rows = [{"trial_id": trial, "step": step, "name": name, "value": value} for name, value in metrics.items()]
        if rows:
            self._connection.execute(_KEEP_METRIC[self._connection.dialect.name], rows)

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
        self._connection.execute(_END_ATTEMPT, {"trial": trial, "attempt": attempt, "at": now, "text": error})
        self._connection.execute(_END_TRIAL, {"trial": trial, "to": state, "at": now, "text": reason})
        if values:
            rows = [{"trial_id": trial, "name": name, "value": value} for name, value in values.items()]
            self._connection.execute(_INSERT_VALUE, rows)

    def mark(self, trial: int, state: State) -> None:
        """Set a trial's state alone."""
        self._connection.execute(_SET_STATE, {"trial": trial, "to": state})

    def lose(self, trial: int, attempt: int, why: str) -> None:
        """Note that the worker of an attempt vanished."""
        row = {"trial": trial, "attempt": attempt, "at": time.time(), "text": why}
        self._connection.execute(_END_ATTEMPT, row)
        self._connection.execute(_SET_STATE, {"trial": trial, "to": State.STALE})

    def artifact(self, trial: int, kind: str, path: str, sha256: str, size: int) -> None:
        """Note a file that a trial left."""
        row = {"trial_id": trial, "kind": kind, "path": path, "sha256": sha256, "size": size}
        self._connection.execute(sa.insert(Artifact), row)

    def drop_artifact(self, trial: int, kind: str) -> None:
        """Forget a file that is no more."""
        gone = sa.delete(Artifact).where(Artifact.trial_id == trial, Artifact.kind == kind)
        self._connection.execute(gone)

    def score(
        self, identity: str, predictor: str, value: float | None, seconds: float, reason: str | None = None
    ) -> None:
        """Keep a predictor's score of an architecture; the same one scored again replaces itself."""
        row = {
            "study_id": self._study,
            "identity": identity,
            "predictor": predictor,
            "value": value,
            "seconds": seconds,
            "reason": reason,
        }
        self._connection.execute(_KEEP_SCORE[self._connection.dialect.name], row)

    def event(self, kind: str, payload: dict[str, Any], trial: int | None = None) -> None:
        """Append to the study's order of asks, tells and verdicts."""
        row = {"study_id": self._study, "trial_id": trial, "kind": kind, "payload": payload, "at": time.time()}
        inserted = self._connection.execute(_INSERT_EVENT, row).inserted_primary_key
        assert inserted is not None
        self.last_event = int(inserted[0])

    def settings(self, settings: dict[str, Any]) -> None:
        """Replace the study's settings (a larger number of trials on resume)."""
        change = sa.update(Study).where(Study.id == self._study).values(settings=settings)
        self._connection.execute(change)


_INSERT_TRIAL = sa.insert(Trial)
_INSERT_ATTEMPT = sa.insert(Attempt)
_INSERT_VALUE = sa.insert(Value)
_INSERT_EVENT = sa.insert(Event)
_SET_STATE = sa.update(Trial).where(Trial.id == sa.bindparam("trial")).values(state=sa.bindparam("to"))
_HAND = _SET_STATE.values(driver=sa.bindparam("hand"))
_CLAIM = (
    sa.update(Trial)
    .where(Trial.id == sa.bindparam("trial"))
    .where(Trial.state.in_((State.WAITING, State.RUNNING, State.STALE)))
    .where(Trial.driver.is_(None) | (Trial.driver == sa.bindparam("mine")))
    .values(driver=sa.bindparam("mine"))
)
_END_TRIAL = (
    sa.update(Trial)
    .where(Trial.id == sa.bindparam("trial"))
    .values(state=sa.bindparam("to"), ended=sa.bindparam("at"), reason=sa.bindparam("text"))
)
_END_ATTEMPT = (
    sa.update(Attempt)
    .where(Attempt.trial_id == sa.bindparam("trial"), Attempt.number == sa.bindparam("attempt"))
    .values(ended=sa.bindparam("at"), error=sa.bindparam("text"))
)


def _keeping(model: type[Base], key: list[str], changed: list[str]) -> dict[str, sa.Insert]:
    """Return the statements, by dialect, that insert a row or replace what changed in the one with its key."""
    kept: dict[str, sa.Insert] = {}
    for dialect, insert in (("sqlite", sqlite.insert(model)), ("postgresql", postgresql.insert(model))):
        change = {name: insert.excluded[name] for name in changed}
        kept[dialect] = insert.on_conflict_do_update(index_elements=key, set_=change)
    return kept


_KEEP_METRIC = _keeping(Metric, ["trial_id", "step", "name"], ["value"])
_KEEP_SCORE = _keeping(Score, ["study_id", "identity", "predictor"], ["value", "seconds", "reason"])
