"""What the rows of a study must say of each other: each account names, in a line each, the trials that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.orm import aliased

from nas.store import State, encoding
from nas.store.models import Artifact, Attempt, Driver, Event, Metric, Trial, Value
from nas.store.queries import StudyRow
from search_spaces.decisions import identity

Account = Callable[[Connection, StudyRow], Iterator[str]]
ENDED = tuple(state for state in State if state.ended)
JUDGED = ("search", "confirm")
BEGUN = ("asked", "forked")


def trials(connection: Connection, study: StudyRow) -> int:
    """Count the trials of a study, of every kind."""
    return int(connection.execute(_of(study, sa.func.count())).scalar_one())


def artifacts(study: StudyRow) -> sa.Select[Any]:
    """Select what a study's trials left: number of the trial, kind, path, sha256, size."""
    query = _of(study, Trial.number, Artifact.kind, Artifact.path, Artifact.sha256, Artifact.size)
    return query.join(Artifact, Artifact.trial_id == Trial.id).order_by(Trial.number, Artifact.kind)


def numbered(connection: Connection, study: StudyRow) -> Iterator[str]:
    """Trials have the numbers from 0 on without a gap, and come from trials that there are."""
    count, least, most = connection.execute(
        _of(study, sa.func.count(), sa.func.min(Trial.number), sa.func.max(Trial.number))
    ).one()
    if count and (least, most) != (0, count - 1):
        yield f"its {count} trials have numbers from {least} to {most}: some are missing"
    parent = aliased(Trial)
    known = sa.exists().where(parent.study_id == study.id, parent.number == Trial.parent)
    query = _of(study, Trial.number, Trial.parent).where(Trial.parent.is_not(None), ~known)
    for number, missing in connection.execute(query):
        yield f"trial {number} comes from trial {missing}, which is not there"
    driver = sa.exists().where(Driver.id == Trial.driver, Driver.study_id == study.id)
    for number, missing in connection.execute(
        _of(study, Trial.number, Trial.driver).where(Trial.driver.is_not(None), ~driver)
    ):
        yield f"trial {number} was in the hands of driver {missing}, which is not there"


def ended(connection: Connection, study: StudyRow) -> Iterator[str]:
    """A trial has an end exactly when its state says so, and so has its last attempt."""
    over = Trial.state.in_(ENDED)
    for number, state in connection.execute(
        _of(study, Trial.number, Trial.state).where(~Trial.state.in_(tuple(State)))
    ):
        yield f"trial {number} is {state}, which is no state"
    for number, state in connection.execute(_of(study, Trial.number, Trial.state).where(over, Trial.ended.is_(None))):
        yield f"trial {number} is {state} and has no time of its end"
    for number, state in connection.execute(
        _of(study, Trial.number, Trial.state).where(~over, Trial.ended.is_not(None))
    ):
        yield f"trial {number} is {state} and has a time of its end"
    later = aliased(Attempt)
    last = ~sa.exists().where(later.trial_id == Attempt.trial_id, later.number > Attempt.number)
    attempts = _of(study, Trial.number, Attempt.number).join(Attempt, Attempt.trial_id == Trial.id)
    for number, attempt in connection.execute(attempts.where(over, Attempt.ended.is_(None), last)):
        yield f"trial {number} has ended, and its attempt {attempt} has not"


def judged(connection: Connection, study: StudyRow) -> Iterator[str]:
    """A completed trial has a value of every objective; metrics and values are numbers, of steps from 0 on."""
    names = [str(name) for name in study.settings.get("objectives", ())]
    counted = sa.select(sa.func.count()).where(Value.trial_id == Trial.id, Value.name.in_(names)).scalar_subquery()
    completed = _of(study, Trial.number).where(Trial.state == State.COMPLETED, Trial.kind.in_(JUDGED))
    for (number,) in connection.execute(completed.where(counted < len(names))):
        yield f"trial {number} is COMPLETED without a value of each of {', '.join(names)}"
    for table in (Metric, Value):
        rows = _of(study, Trial.number, table.name).join(table, table.trial_id == Trial.id)
        wrong = _not_a_number(connection, table.value)
        if table is Metric:
            wrong = sa.or_(wrong, Metric.step < 0)
        for number, name in connection.execute(rows.where(wrong)):
            yield f"trial {number}: its {table.__tablename__} {name} is no number of a step"


def told(connection: Connection, study: StudyRow) -> Iterator[str]:
    """What began by an event is told of once when it has ended, and never before; events are of the study's trials."""
    counts = [sa.func.sum(sa.case((Event.kind.in_(kinds), 1), else_=0)) for kinds in (BEGUN, ("told",))]
    starts, tells = (count.label(name) for count, name in zip(counts, ("starts", "tells"), strict=True))
    counted = sa.select(Event.trial_id, starts, tells).where(Event.study_id == study.id).group_by(Event.trial_id)
    each = counted.subquery()
    over = Trial.state.in_(ENDED)
    wrong = (each.c.tells > 1) | (each.c.starts > 1)
    wrong |= (each.c.starts == 1) & (each.c.tells != sa.case((over, 1), else_=0))
    query = _of(study, Trial.number, over, each.c.starts, each.c.tells).join(each, each.c.trial_id == Trial.id)
    for number, is_over, start, tell in connection.execute(query.where(wrong).order_by(Trial.number)):
        now = "has ended" if is_over else "has not ended"
        yield f"trial {number} {now}, and in the order of events it begins {start} and ends {tell} times"
    strange = sa.select(Event.id).join(Trial, Event.trial_id == Trial.id)
    for (event,) in connection.execute(strange.where(Event.study_id == study.id, Trial.study_id != study.id)):
        yield f"event {event} is of another study's trial"


def identified(connection: Connection, study: StudyRow) -> Iterator[str]:
    """The identity of a trial is that of its architecture."""
    query = _of(study, Trial.number, sa.cast(Trial.architecture, sa.Text), Trial.identity).order_by(Trial.number)
    for number, text, noted in connection.execution_options(yield_per=500).execute(query):
        try:
            same = identity(encoding.loads(text)) == noted
        except (ValueError, TypeError):
            yield f"trial {number}: its architecture is no JSON"
        else:
            if not same:
                yield f"trial {number}: its architecture is not the one that its identity was made of"


ACCOUNTS: dict[str, Account] = {
    "numbers": numbered,
    "ends": ended,
    "values": judged,
    "events": told,
    "architectures": identified,
}


def _of(study: StudyRow, *columns: Any) -> sa.Select[Any]:
    return sa.select(*columns).select_from(Trial).where(Trial.study_id == study.id)


def _not_a_number(connection: Connection, value: Any) -> sa.ColumnElement[bool]:
    """Find what is no number: SQLite keeps text in any column, and not-a-number as text."""
    if connection.dialect.name != "sqlite":
        return sa.false()
    kind = sa.func.typeof(value)
    return sa.and_(kind.not_in(("real", "integer")), sa.type_coerce(value, sa.Text) != "nan")
