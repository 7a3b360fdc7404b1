"""The tables of a store. Times are seconds since the epoch, architectures and settings are JSON."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from typing import Any, ClassVar

from sqlalchemy import JSON, BigInteger, ForeignKey, Index, String, Text, UniqueConstraint
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator, UserDefinedType


class State(enum.StrEnum):
    """Where a trial stands."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    STOPPED = "STOPPED"
    FAILED = "FAILED"
    INFEASIBLE = "INFEASIBLE"
    STALE = "STALE"

    @property
    def ended(self) -> bool:
        return self in (State.COMPLETED, State.STOPPED, State.FAILED, State.INFEASIBLE)


class Number(UserDefinedType[float]):
    """A float that stays what it is: SQLite would turn not-a-number into NULL, so it is kept there as text."""

    cache_ok = True

    def get_col_spec(self, **options: Any) -> str:
        return "DOUBLE PRECISION"

    def bind_processor(self, dialect: Dialect) -> Callable[[float | None], Any] | None:
        if dialect.name != "sqlite":
            return lambda value: None if value is None else float(value)
        return lambda value: "nan" if value is not None and math.isnan(value) else value

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], float | None]:
        return lambda value: None if value is None else float(value)


class Words(TypeDecorator[str]):
    """What a program said, as text; what no database keeps (NUL, half a surrogate pair) is written as escapes."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isprintable() and value.isascii()):
            return value
        return value.encode(errors="backslashreplace").decode().replace("\0", "\\x00")


class Base(DeclarativeBase):
    type_annotation_map: ClassVar[dict[Any, Any]] = {float: Number, dict[str, Any]: JSON(none_as_null=True)}


class Study(Base):
    """A search with its settings."""

    __tablename__ = "study"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(200), unique=True)
    settings: Mapped[dict[str, Any]]
    created: Mapped[float]


class Driver(Base):
    """A process that runs a study: a search, a confirmation or a scoring, as `plan` says.

    Its lease is a time of the database's clock. A driver whose lease has run out is dead, and another ends it and
    takes over its trials. `home` names the machine and process namespace in which `pid` means something.
    """

    __tablename__ = "driver"
    __table_args__ = (Index("driver_by_study", "study_id", "ended"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    plan: Mapped[str] = mapped_column(String(20))
    name: Mapped[str] = mapped_column(String(200))
    home: Mapped[str] = mapped_column(String(200))
    pid: Mapped[int] = mapped_column(BigInteger)
    started: Mapped[float]
    lease: Mapped[float]
    ended: Mapped[float | None]


class Trial(Base):
    """One architecture judged once. `kind` says why it exists: "search", "confirm" (a leader trained anew), or
    "score" (drawn to be scored, and never trained).

    A trial with `forked_at` went on from its parent's checkpoint after so many epochs. `driver` is the process that
    has it in hand.

    `key` is the SHA-256 of identity, task content, budget and repeat; it is unique in a study, so that
    the same work is never done twice.
    """

    __tablename__ = "trial"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        UniqueConstraint("study_id", "key"),
        Index("trial_by_state", "study_id", "state", "kind"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    number: Mapped[int]
    kind: Mapped[str] = mapped_column(String(20))
    state: Mapped[str] = mapped_column(String(20))
    architecture: Mapped[dict[str, Any]]
    identity: Mapped[str] = mapped_column(String(64))
    key: Mapped[str] = mapped_column(String(64))
    repeat: Mapped[int]
    parent: Mapped[int | None]
    seed: Mapped[int] = mapped_column(BigInteger)
    reason: Mapped[str | None] = mapped_column(Words)
    created: Mapped[float]
    ended: Mapped[float | None]
    forked_at: Mapped[int | None]
    driver: Mapped[int | None]


class Attempt(Base):
    """One try to run a trial on one worker."""

    __tablename__ = "attempt"
    __table_args__ = (UniqueConstraint("trial_id", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"))
    number: Mapped[int]
    worker: Mapped[str] = mapped_column(String(200))
    device: Mapped[str] = mapped_column(String(100))
    started: Mapped[float]
    ended: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Words)


class Metric(Base):
    """What a trial reported after so many epochs; step 0 is the built network before training."""

    __tablename__ = "metric"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[float]


class Value(Base):
    """The final value of an objective."""

    __tablename__ = "value"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[float]


class Score(Base):
    """A predictor's score of an architecture that may never have been trained, by what was measured.

    A value of NULL could not be measured, and `reason` says why.
    """

    __tablename__ = "score"

    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"), primary_key=True)
    identity: Mapped[str] = mapped_column(String(64), primary_key=True)
    predictor: Mapped[str] = mapped_column(String(100), primary_key=True)
    value: Mapped[float | None]
    seconds: Mapped[float]
    reason: Mapped[str | None] = mapped_column(Words)


class Artifact(Base):
    """A file that a trial left, by its path relative to the study's folder."""

    __tablename__ = "artifact"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"), primary_key=True)
    kind: Mapped[str] = mapped_column(String(50), primary_key=True)
    path: Mapped[str] = mapped_column(Text)
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)


class Event(Base):
    """The order of asks, tells and verdicts: replayed, it gives a strategy and a schedule their state back."""

    __tablename__ = "event"
    __table_args__ = (Index("event_by_study", "study_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("study.id", ondelete="CASCADE"))
    trial_id: Mapped[int | None] = mapped_column(ForeignKey("trial.id", ondelete="CASCADE"))
    kind: Mapped[str] = mapped_column(String(20))
    payload: Mapped[dict[str, Any]]
    at: Mapped[float]
