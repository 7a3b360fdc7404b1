"""Reading a store: studies, trials a page at a time, learning curves, fronts and the order of events."""

from __future__ import annotations

import gc
import json
import math
import statistics
from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.engine import Row
from sqlalchemy.orm import InstrumentedAttribute, aliased

from nas.store.errors import StoreError
from nas.store.models import Artifact, Attempt, Event, Metric, Score, State, Study, Trial, Value
from nas.store.store import Store
from nas.store.writing import News
from search_spaces.decisions import Architecture

SCORING = "scoring"
EVENTS = 2000
PART = 2000
MANY = 100_000  # objects
RARE = ("confirm", "supernet")
ARCHITECTURES = ("asked", "replayed", "forked", "verdict")


@dataclass(frozen=True)
class StudyRow:
    """A study: its settings, and how many trials it has in each state (of kind "search").

    Of a scoring, the architectures that all its predictors have tried count as COMPLETED.
    """

    id: int
    name: str
    settings: dict[str, Any]
    created: float
    counts: dict[State, int]

    @property
    def ended(self) -> int:
        return sum(count for state, count in self.counts.items() if state.ended)

    @property
    def scoring(self) -> dict[str, Any] | None:
        """What only a scoring's settings have; None for a search."""
        return self.settings.get(SCORING)


@dataclass(frozen=True)
class TrialRow:
    """A trial with the values of its objectives and the last step it reported."""

    id: int
    number: int
    kind: str
    state: State
    architecture: Architecture
    identity: str
    repeat: int
    parent: int | None
    seed: int
    reason: str | None
    created: float
    ended: float | None
    values: dict[str, float]
    step: int | None
    forked_at: int | None = None
    driver: int | None = None


@dataclass(frozen=True)
class Page:
    """Which trials to read: filters, order and window. `sort` is a column of TrialRow or an objective."""

    states: tuple[State, ...] = ()
    kind: str | None = "search"
    bounds: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)
    numbers: tuple[int | None, int | None] = (None, None)
    sort: str = "number"
    descending: bool = False
    offset: int = 0
    limit: int | None = None


@dataclass(frozen=True)
class ScoreRow:
    """What was measured of an untrained architecture under one column; None with the reason why it was not."""

    identity: str
    column: str
    value: float | None
    seconds: float
    reason: str | None


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation of an objective over repeated trainings."""

    mean: float
    deviation: float
    count: int


def studies(store: Store) -> list[StudyRow]:
    """List all studies, oldest first."""
    counted = sa.select(Trial.study_id, Trial.state, sa.func.count()).where(Trial.kind == "search")
    with store.reading() as connection:
        rows = connection.execute(sa.select(*Study.__table__.c).order_by(Study.id)).all()
        counts: dict[int, dict[State, int]] = defaultdict(dict)
        for study, state, count in connection.execute(counted.group_by(Trial.study_id, Trial.state)):
            counts[study][State(state)] = count
        scorings = {row.id: _columns(row.settings[SCORING]) for row in rows if SCORING in row.settings}
        if scorings:
            tried = sa.select(Score.study_id, Score.predictor, sa.func.count()).where(Score.study_id.in_(scorings))
            grouped = connection.execute(tried.group_by(Score.study_id, Score.predictor))
            known = {(study, column): count for study, column, count in grouped}
            for study, columns in scorings.items():
                if least := min(known.get((study, column), 0) for column in columns):
                    counts[study][State.COMPLETED] = least
    return [StudyRow(r.id, r.name, r.settings, r.created, counts[r.id]) for r in rows]


def study(store: Store, name: str) -> StudyRow:
    """Return one study; raises StoreError naming those there are."""
    known = studies(store)
    for row in known:
        if row.name == name:
            return row
    there = ", ".join(row.name for row in known[-8:]) or "none yet"
    raise StoreError(f"there is no study {name!r} in {store.url}: there are {there}")


def standing(store: Store, study: StudyRow) -> str:
    """Say whether a study is "running" now, "finished", or "interrupted"."""
    if store.driven(study.name):
        return "running"
    return "finished" if study.ended >= study.settings.get("trials", math.inf) else "interrupted"


def trials(store: Store, study: int, page: Page | None = None) -> list[TrialRow]:
    """Read a page of a study's trials."""
    page = page or Page()
    query = _filtered(sa.select(*_ROW), study, page)
    if page.sort in _SORTABLE:
        order = _SORTABLE[page.sort]
    else:
        sorter = aliased(Value)
        query = query.outerjoin(sorter, (sorter.trial_id == Trial.id) & (sorter.name == page.sort))
        query = query.order_by(sorter.value.is_(None), _is_nan(sorter.value))
        order = sorter.value
    query = query.order_by((order.desc() if page.descending else order.asc()).nulls_last(), Trial.number)
    query = query.offset(page.offset).limit(page.limit)
    with store.reading() as connection, uncollected():
        rows = connection.execute(query).all()
        ids = [row.id for row in rows]
        values: dict[int, dict[str, float]] = defaultdict(dict)
        steps: dict[int, int] = {}
        for part in _parts(ids):
            for trial, name, value in connection.execute(_VALUES.where(_among(store, Value.trial_id, part))).all():
                values[trial][name] = value
            last = sa.select(Metric.trial_id, sa.func.max(Metric.step)).where(_among(store, Metric.trial_id, part))
            steps.update((key, step) for key, step in connection.execute(last.group_by(Metric.trial_id)))
        return [_trial(row, values[row.id], steps.get(row.id)) for row in rows]


def count(store: Store, study: int, page: Page | None = None) -> int:
    """Count the trials that a page's filters let through, whatever its window."""
    with store.reading() as connection:
        query = _filtered(sa.select(sa.func.count()).select_from(Trial), study, page or Page())
        return int(connection.execute(query).scalar_one())


def trial(store: Store, study: StudyRow, number: int) -> TrialRow:
    """Return one trial; raises StoreError saying which numbers there are."""
    found = trials(store, study.id, Page(kind=None, numbers=(number, number)))
    if found:
        return found[0]
    with store.reading() as connection:
        last = connection.execute(sa.select(sa.func.max(Trial.number)).where(Trial.study_id == study.id)).scalar()
    there = "it has none yet" if last is None else f"its trials are 0 to {last}"
    raise StoreError(f"study {study.name!r} has no trial {number}: {there}")


def curves(store: Store, trial: int) -> dict[str, list[tuple[int, float]]]:
    """Return a trial's metrics by name, each as pairs of step and value in order."""
    query = sa.select(Metric.name, Metric.step, Metric.value).where(Metric.trial_id == trial)
    result: dict[str, list[tuple[int, float]]] = defaultdict(list)
    with store.reading() as connection:
        for name, step, value in connection.execute(query.order_by(Metric.name, Metric.step)):
            result[name].append((step, value))
    return dict(result)


def attempts(store: Store, trial: int) -> Sequence[Row[Any]]:
    """Return a trial's attempts in order."""
    with store.reading() as connection:
        query = sa.select(*Attempt.__table__.c).where(Attempt.trial_id == trial).order_by(Attempt.number)
        return connection.execute(query).all()


def artifacts(store: Store, trial: int) -> dict[str, str]:
    """Return a trial's files by kind, as paths relative to the study's folder."""
    with store.reading() as connection:
        query = sa.select(Artifact.kind, Artifact.path).where(Artifact.trial_id == trial)
        return {kind: path for kind, path in connection.execute(query)}


def artifacts_of(store: Store, study: int, kind: str) -> list[tuple[int, str, dict[str, float]]]:
    """Return a study's files of a kind: the trial's id, the path relative to the study's folder, the trial's values."""
    query = sa.select(Artifact.trial_id, Artifact.path).join(Trial).where(Trial.study_id == study)
    with store.reading() as connection:
        paths = {trial: path for trial, path in connection.execute(query.where(Artifact.kind == kind))}
    return [(row.id, paths[row.id], row.values) for row in of_ids(store, paths)]


def history(store: Store, study: int) -> list[tuple[str, int | None, dict[str, Any]]]:
    """Return the order of asks, tells and verdicts: kind, trial id, payload."""
    with store.reading() as connection:
        query = sa.select(Event.kind, Event.trial_id, Event.payload).where(Event.study_id == study)
        with uncollected():
            rows = connection.execute(query.order_by(Event.id)).all()
    return [(kind, trial, payload) for kind, trial, payload in rows]


def metrics_at(
    store: Store, study: int, steps: Collection[int], names: Collection[str]
) -> dict[tuple[int, int], dict[str, float]]:
    """Return the named metrics of all trials at certain steps, by trial id and step."""
    query = (
        sa.select(Metric.trial_id, Metric.step, Metric.name, Metric.value).join(Trial).where(Trial.study_id == study)
    )
    result: dict[tuple[int, int], dict[str, float]] = defaultdict(dict)
    with store.reading() as connection:
        for trial, step, name, value in connection.execute(query.where(Metric.step.in_(steps), Metric.name.in_(names))):
            result[trial, step][name] = value
    return dict(result)


def metrics_of(store: Store, trial: int, step: int | None = None) -> dict[str, float]:
    """Return the last value of each of a trial's metrics, up to a step where one is given."""
    return {
        name: points[-1][1]
        for name, every in curves(store, trial).items()
        if (points := [point for point in every if step is None or point[0] <= step])
    }


def of_ids(store: Store, ids: Collection[int], *, architectures: bool = True) -> list[TrialRow]:
    """Return the trials of some ids, of whatever kind; without their architectures (None) where these are not asked."""
    found: list[TrialRow] = []
    columns = [each if architectures or each is not Trial.architecture else sa.null() for each in _ROW]
    with store.reading() as connection, uncollected():
        for part in _parts(sorted(ids)):
            rows = connection.execute(sa.select(*columns).where(_among(store, Trial.id, part))).all()
            values: dict[int, dict[str, float]] = defaultdict(dict)
            for trial, name, value in connection.execute(_VALUES.where(_among(store, Value.trial_id, part))).all():
                values[trial][name] = value
            found += [_trial(row, values[row.id], None) for row in rows]
    return found


def last_number(store: Store, study: int) -> int:
    """Return the greatest number of a study's trials, -1 where it has none."""
    with store.reading() as connection:
        last = connection.execute(sa.select(sa.func.max(Trial.number)).where(Trial.study_id == study)).scalar()
    return -1 if last is None else int(last)


def replayed(store: Store, study: int) -> Iterator[tuple[News, TrialRow | None]]:
    """Give a study's events in their order, each with its trial as that stands now; never more than some in memory."""
    after = 0
    while True:
        query = sa.select(Event.id, Event.kind, Event.trial_id, Event.payload)
        query = query.where(Event.study_id == study, Event.id > after).order_by(Event.id).limit(EVENTS)
        with store.reading() as connection, uncollected():
            rows = connection.execute(query).all()
        if not rows:
            return
        after = rows[-1].id
        yield from with_trials(store, [News(row.kind, row.trial_id, row.payload) for row in rows])


def with_trials(store: Store, events: Sequence[News]) -> Iterator[tuple[News, TrialRow | None]]:
    """Give each event with its trial; the architecture is there for events that a trial begins with or is known by."""
    built = {each.trial for each in events if each.trial is not None and each.kind in ARCHITECTURES}
    told = {each.trial for each in events if each.trial is not None} - built
    rows = {row.id: row for row in of_ids(store, built)}
    rows |= {row.id: row for row in of_ids(store, told, architectures=False)}
    for event in events:
        yield event, None if event.trial is None else rows[event.trial]


def latest(store: Store, study: int, name: str) -> float | None:
    """Return the greatest value that a metric has in a study, None where no trial has it."""
    query = sa.select(sa.func.max(Metric.value)).join(Trial).where(Trial.study_id == study, Metric.name == name)
    with store.reading() as connection:
        return connection.execute(query).scalar()


def unfinished(store: Store, study: int, kind: str) -> list[tuple[TrialRow, int, int]]:
    """Return the trials of a kind that have not ended, each with its attempts so far and how many lost their worker."""
    waiting = (State.WAITING, State.RUNNING, State.PAUSED, State.STALE)
    rows = trials(store, study, Page(kind=kind, states=waiting))
    lost = sa.func.count(Attempt.error)
    query = sa.select(Attempt.trial_id, sa.func.max(Attempt.number), lost).join(Trial).where(Trial.study_id == study)
    with store.reading() as connection:
        query = query.where(Trial.state.in_(waiting)).group_by(Attempt.trial_id)
        tries = {trial: (number, count) for trial, number, count in connection.execute(query)}
    return [(row, *tries.get(row.id, (0, 0))) for row in rows]


def values(store: Store, study: int, *names: str) -> list[tuple[int, list[float]]]:
    """Return (trial number, values of the named objectives) of all completed trials of the search itself."""
    query = sa.select(Trial.number).where(
        Trial.study_id == study, Trial.kind == "search", Trial.state == State.COMPLETED
    )
    for name in names:
        each = aliased(Value)
        query = query.join(each, (each.trial_id == Trial.id) & (each.name == name)).add_columns(each.value)
    with store.reading() as connection, uncollected():
        return [(row[0], list(row[1:])) for row in connection.execute(query.order_by(Trial.number)).all()]


def confirmed(store: Store, study: int) -> dict[int, dict[str, Spread]]:
    """Return, for each trial that was trained anew with fresh seeds, the spread of its objectives."""
    query = (
        sa.select(Trial.parent, Value.name, Value.value)
        .join(Value, Value.trial_id == Trial.id)
        .where(Trial.study_id == study, Trial.kind == "confirm", Trial.state == State.COMPLETED)
    )
    found: dict[int | None, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    with store.reading() as connection:
        for parent, name, value in connection.execute(query):
            found[parent][name].append(value)
    return {
        parent: {name: spread(each) for name, each in named.items()}
        for parent, named in found.items()
        if parent is not None
    }


def spread(values: Sequence[float]) -> Spread:
    """Return mean and sample standard deviation (0 for one value, not-a-number where a value is not finite)."""
    if not all(map(math.isfinite, values)):
        return Spread(sum(values) / len(values), math.nan, len(values))
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), deviation, len(values))


def scores(store: Store, study: int, columns: Collection[str]) -> dict[str, dict[str, float | None]]:
    """Return the scores of a study's architectures by identity and column; a column that was never tried is absent."""
    found: dict[str, dict[str, float | None]] = defaultdict(dict)
    for row in scored(store, study, columns):
        found[row.identity][row.column] = row.value
    return dict(found)


def scored(
    store: Store, study: int, columns: Collection[str] | None = None, *, identity: str | None = None
) -> list[ScoreRow]:
    """Return all that is kept of a study's scores: under some columns, or of one architecture by column."""
    query = sa.select(Score.identity, Score.predictor, Score.value, Score.seconds, Score.reason)
    query = query.where(Score.study_id == study)
    if columns is not None:
        query = query.where(Score.predictor.in_(columns))
    if identity is not None:
        query = query.where(Score.identity == identity).order_by(Score.predictor)
    with store.reading() as connection:
        return [ScoreRow(*row) for row in connection.execute(query)]


def tally(store: Store, study: int) -> dict[State, int]:
    """Count all trials of a study, of every kind, by state: cheap enough to ask whether anything changed."""
    query = sa.select(Trial.state, sa.func.count()).where(Trial.study_id == study).group_by(Trial.state)
    with store.reading() as connection:
        return {State(state): number for state, number in connection.execute(query)}


def ranges(store: Store) -> dict[int, dict[str, tuple[float, float]]]:
    """Return, by study id, the least and the greatest number among each objective's completed search trials."""
    query = (
        sa.select(Trial.study_id, Value.name, sa.func.min(Value.value), sa.func.max(Value.value))
        .join(Value, Value.trial_id == Trial.id)
        .where(Trial.kind == "search", Trial.state == State.COMPLETED, Value.value <= math.inf)
    )
    found: dict[int, dict[str, tuple[float, float]]] = defaultdict(dict)
    with store.reading() as connection:
        for study, name, least, most in connection.execute(query.group_by(Trial.study_id, Value.name)):
            found[study][name] = (least, most)
    return dict(found)


@contextmanager
def uncollected() -> Iterator[None]:
    """Read many trials four times as fast: the collector of reference cycles would walk all that were read, again
    and again, and find none. Afterwards very many count as old, and are seldom walked.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            if gc.get_count()[0] > MANY:
                others = gc.get_freeze_count()
                gc.freeze()
                if not others:
                    gc.unfreeze()  # what was frozen becomes the oldest generation
            gc.enable()


def _columns(scoring: dict[str, Any]) -> list[str]:
    return [column for columns in scoring["predictors"].values() for column in columns]


_ROW: tuple[Any, ...] = (
    *(Trial.id, Trial.number, Trial.kind, Trial.state, Trial.architecture, Trial.identity, Trial.repeat, Trial.parent),
    *(Trial.seed, Trial.reason, Trial.created, Trial.ended, Trial.forked_at, Trial.driver),
)
_VALUES = sa.select(Value.trial_id, Value.name, Value.value)
_SORTABLE: dict[str, Any] = {
    "number": Trial.number,
    "state": Trial.state,
    "created": Trial.created,
    "ended": Trial.ended,
    "reason": Trial.reason,
}


def _filtered(query: sa.Select[Any], study: int, page: Page) -> sa.Select[Any]:
    query = query.where(Trial.study_id == study)
    if page.kind is not None:
        query = query.where(Trial.kind == page.kind)
    # With states the index finds what is rare without a walk through all trials.
    states = page.states or (tuple(State) if page.kind in RARE else ())
    if states:
        query = query.where(Trial.state.in_(states))
    low, high = page.numbers
    if low is not None:
        query = query.where(Trial.number >= low)
    if high is not None:
        query = query.where(Trial.number <= high)
    for name, (least, most) in page.bounds.items():
        bound = aliased(Value)
        query = query.join(bound, (bound.trial_id == Trial.id) & (bound.name == name))
        query = query.where(sa.not_(_is_nan(bound.value)))
        if least is not None:
            query = query.where(bound.value >= least)
        if most is not None:
            query = query.where(bound.value <= most)
    return query


def _parts(ids: Sequence[int]) -> Iterator[Sequence[int]]:
    return (ids[i : i + PART] for i in range(0, len(ids), PART))


def _among(store: Store, column: InstrumentedAttribute[int], ids: Sequence[int]) -> sa.ColumnElement[bool]:
    """Find a column's value among many: all of them are one parameter, where IN would make a parameter of each."""
    if store.shared:
        return column == sa.any_(sa.literal(list(ids), ARRAY(sa.BigInteger)))
    listed = sa.func.json_each(json.dumps(ids)).table_valued("value")
    return column.in_(sa.select(listed.c.value))


def _is_nan(value: Any) -> Any:
    """Find not-a-number, which sorts above all numbers: SQLite keeps it as text (see `Number`)."""
    return value > math.inf


def _trial(row: Sequence[Any], values: dict[str, float], step: int | None) -> TrialRow:
    """Make a trial of the columns of `_ROW`."""
    trial, number, kind, state, *told = row
    rest: tuple[Any, ...] = (*told[:8], values, step, *told[8:])
    return TrialRow(trial, number, kind, State(state), *rest)
