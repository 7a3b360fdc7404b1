"""Who drives a study: drivers with leases by the database's clock, and what becomes of the trials of a dead one.

On SQLite one process drives a study at a time, and the operating system frees its lock when it dies. On PostgreSQL
several may share a search: each round of a driver is one transaction that holds the study's row, in which it first
hears what the others have done since, so that all see the same order of events. A driver renews its lease from a
thread of its own. One whose lease has run out, or whose process is known to be gone, is ended by another, and its
trials are in nobody's hands until a driver claims them. A driver that comes back after that is told so by `Evicted`.
"""

from __future__ import annotations

import os
import platform
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from nas.errors import UserError
from nas.store.batch import Batch
from nas.store.models import Attempt, Driver, Event, State, Study, Trial
from nas.store.sql_writer import SqlWriter
from nas.store.writing import News

if TYPE_CHECKING:
    from nas.store.store import Store

LEASE = 30.0
BEAT = 5.0
SHARED = "search"
SEARCHED = ("search", "supernet")
IN_HAND = (State.WAITING, State.RUNNING, State.STALE)


class Evicted(UserError):
    """This driver was taken for dead, and its trials were given to others."""


class Seat:
    """A driver's place at a study, through which it writes; a `Ledger`."""

    def __init__(self, store: Store, study: int, driver: int | None, plan: str, *, shared: bool) -> None:
        self.driver = driver
        self.shared = shared
        self._plan = plan
        self._store = store
        self._study = study
        self._heard: int | None = None
        self._ids = deque[int]()
        self._contact = time.monotonic()
        self._looked = 0.0

    @contextmanager
    def writing(self, study: int) -> Iterator[SqlWriter]:
        """Write in one transaction, in which no other driver writes; raises Evicted, and what the store raises."""
        with self._store.begun() as connection:
            news = self._enter(connection) if self.shared else []
            writer = SqlWriter(connection, study, self.driver, news, self._ids)
            try:
                yield writer
                writer.flush()
            except BaseException:
                self._ids.clear()  # a server that goes away before the commit may give them to others
                raise
        if self.shared:
            self._heard = max(self._heard or 0, writer.last_event)

    def forget(self) -> None:
        """Hear nothing of what was before the next transaction, in which the caller reads the study itself."""
        self._heard = None

    def look_after(self) -> int:
        """End the drivers that are dead, now and then, and return how many trials are in nobody's hands.

        Where the study is not shared that was done when it was entered.
        """
        if not self.shared or time.monotonic() - self._looked < BEAT:
            return 0
        self._looked = time.monotonic()
        patient = time.monotonic() - self._contact >= LEASE
        with self._store.begun() as connection:
            _lock(connection, self._study)
            others = [row for row in _living(connection, self._study) if row.id != self.driver]
            reap(connection, self._study, [row.id for row in others if _gone(row) or (patient and row.lease < row.now)])
            return orphans(connection, self._study)

    def others(self) -> int:
        """Count the trials of the search that other drivers have in hand, or nobody yet."""
        if not self.shared or self._plan != SHARED:
            return 0
        with self._store.begun() as connection:
            mine = Trial.driver.is_not(None) & (Trial.driver == self.driver)
            return int(connection.execute(_to_be_run(self._study).where(~mine)).scalar_one())

    def ready(self) -> str | None:
        """Say why the store cannot be written to at this moment, None where it can."""
        return self._store.ready()

    def rejoin(self) -> None:
        """Take a place anew, after this driver was taken for dead."""
        with self._store.begun() as connection:
            _lock(connection, self._study)
            self.driver = _add(connection, self._store.engine, self._study, SHARED)
        self._heard = None

    def beat(self) -> None:
        """Renew the lease; what the store is away for is not counted as contact."""
        now = clock(self._store.engine)
        renewal = sa.update(Driver).where(Driver.id == self.driver, Driver.ended.is_(None)).values(lease=now + LEASE)
        try:
            with self._store.engine.begin() as connection:
                connection.execute(renewal)
        except (SQLAlchemyError, OSError):
            self._contact = time.monotonic()

    def leave(self) -> None:
        """Give the place back: what is unfinished is in nobody's hands."""
        if self.driver is not None:
            with self._store.begun() as connection:
                _lock(connection, self._study)
                reap(connection, self._study, [self.driver])

    def _enter(self, connection: Connection) -> list[News]:
        """Hold the study's row, and return what the other drivers did since the last time."""
        batch = Batch(connection)
        batch.add(_HOLD, [{"study": self._study}])
        batch.add(_PLACE, [{"study": self._study, "driver": self.driver}])
        row = batch.execute()
        if row is None or row[0] is not None:
            raise Evicted("this driver was taken for dead by another, which has its trials now")
        latest = row[1] or 0
        if self._heard is None or latest <= self._heard:
            self._heard = latest
            return []
        new = sa.select(Event.kind, Event.trial_id, Event.payload).where(
            Event.study_id == self._study, Event.id > self._heard
        )
        found = [News(*row) for row in connection.execute(new.order_by(Event.id))]
        self._heard = latest
        return found


@contextmanager
def seated(store: Store, name: str, plan: str, locked: bool) -> Iterator[Seat]:
    """Take a place at a study. `locked`: the caller holds the study's file lock, so every other driver is dead."""
    with store.begun() as connection:
        study = connection.execute(sa.select(Study.id).where(Study.name == name)).scalar()
        if study is None:
            driver = None
        else:
            if not locked:
                _lock(connection, study)
            living = _living(connection, study)
            # After the server was away every lease has run out: the others get as long again to come back.
            dead = living if locked else [row for row in living if _gone(row) or row.lease + LEASE < row.now]
            reap(connection, study, [row.id for row in dead])
            _refuse([row for row in living if row not in dead], name, plan)
            driver = _add(connection, store.engine, study, plan)
    seat = Seat(store, study or 0, driver, plan, shared=not locked and study is not None)
    stop = threading.Event()
    if seat.shared:
        threading.Thread(target=_beating, args=(seat, stop), name=f"lease of {name}", daemon=True).start()
    try:
        yield seat
    finally:
        stop.set()
        with suppress(UserError, SQLAlchemyError):
            seat.leave()


def reap(connection: Connection, study: int, drivers: list[int]) -> None:
    """End drivers: their running trials are STALE, and what they had in hand is in nobody's hands."""
    if not drivers:
        return
    now = time.time()
    theirs = sa.select(Trial.id).where(Trial.study_id == study, Trial.driver.in_(drivers), Trial.state.in_(IN_HAND))
    running = sa.and_(Trial.id.in_(theirs), Trial.state == State.RUNNING)
    begun = sa.and_(Attempt.trial_id.in_(theirs), Attempt.ended.is_(None))
    connection.execute(sa.update(Attempt).where(begun).values(ended=now))
    connection.execute(sa.update(Trial).where(running).values(state=State.STALE))
    connection.execute(sa.update(Trial).where(Trial.id.in_(theirs)).values(driver=None))
    connection.execute(sa.update(Driver).where(Driver.id.in_(drivers), Driver.ended.is_(None)).values(ended=now))


def orphans(connection: Connection, study: int) -> int:
    """Count the trials of the search that are to be run and in nobody's hands."""
    return int(connection.execute(_to_be_run(study).where(Trial.driver.is_(None))).scalar_one())


def _to_be_run(study: int) -> sa.Select[int]:
    counted = sa.select(sa.func.count()).select_from(Trial)
    return counted.where(Trial.study_id == study, Trial.state.in_(IN_HAND), Trial.kind.in_(SEARCHED))


def living(store: Store, name: str) -> int:
    """Count the drivers of a study whose lease runs."""
    query = sa.select(sa.func.count()).select_from(Driver).join(Study).where(Study.name == name)
    query = query.where(Driver.ended.is_(None), Driver.lease >= clock(store.engine))
    with store.engine.connect() as connection:
        return int(connection.execute(query).scalar_one())


def clock(engine: Engine) -> sa.ColumnElement[float]:
    """Return the database's own time, in seconds since the epoch."""
    if engine.dialect.name == "sqlite":
        return sa.literal_column("((julianday('now') - 2440587.5) * 86400.0)", sa.Float)
    return sa.literal_column("CAST(extract(epoch FROM clock_timestamp()) AS double precision)", sa.Float)


def _living(connection: Connection, study: int) -> list[Any]:
    columns = (*Driver.__table__.c, clock(connection.engine).label("now"))
    query = sa.select(*columns).where(Driver.study_id == study, Driver.ended.is_(None))
    return list(connection.execute(query))


_HOLD = sa.select(Study.id).where(Study.id == sa.bindparam("study")).with_for_update()
_PLACE = sa.select(
    Driver.ended, sa.select(sa.func.max(Event.id)).where(Event.study_id == sa.bindparam("study")).scalar_subquery()
).where(Driver.id == sa.bindparam("driver"))


def _lock(connection: Connection, study: int) -> None:
    connection.execute(_HOLD, {"study": study})


def _refuse(others: list[Any], name: str, plan: str) -> None:
    """Refuse a place beside drivers that do not share: only searches do."""
    from nas.store.store import StoreError

    if others and (plan != SHARED or any(row.plan != SHARED for row in others)):
        where = ", ".join(f"{row.name} ({row.plan})" for row in others)
        raise StoreError(f"study {name!r} is being run by another process, {where}: wait for it, or stop it")


def _add(connection: Connection, engine: Engine, study: int, plan: str) -> int:
    row = {"study_id": study, "plan": plan, "name": f"{platform.node()}:{os.getpid()}"[:200], "home": _home()}
    row |= {"pid": os.getpid(), "started": time.time()}
    added = connection.execute(sa.insert(Driver).values(**row, lease=clock(engine) + LEASE))
    key = added.inserted_primary_key
    assert key is not None
    return int(key[0])


def _home() -> str:
    """Name the machine, as started, and the process namespace: where a pid means the same process."""
    boot = Path("/proc/sys/kernel/random/boot_id")
    space = Path("/proc/self/ns/pid")
    if not boot.exists() or not space.exists():
        return ""
    return f"{boot.read_text().strip()} {os.readlink(space)}"[:200]


def _gone(row: Any) -> bool:
    """Say whether a driver's process is known to have ended: it was on this machine, and is no more."""
    if not row.home or row.home != _home():
        return False
    try:
        os.kill(row.pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _beating(seat: Seat, stop: threading.Event) -> None:
    while not stop.wait(BEAT):
        seat.beat()
