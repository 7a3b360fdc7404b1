"""A study written in Optuna's own format, so that Optuna and its dashboard open it.

Decisions become parameters by their paths, those that were active in a trial. COMPLETED trials are COMPLETE, STOPPED
ones PRUNED, FAILED and INFEASIBLE ones FAIL, as is a completed one with a value that is not a number, which Optuna
does not take; what has not ended is RUNNING or WAITING. Intermediate values are the metric of the first objective by
epoch. What Optuna has no place for is in user attributes that begin with "nas:". Confirmations and supernets are not
written, since Optuna would take them for trials of the search.

Optuna's own storage takes its time: some twenty to forty trials of forty decisions a second.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

from nas.errors import UserError
from nas.objectives import Objective, objective
from nas.store import State, Store, queries
from nas.store.database import TABLES
from nas.store.errors import line, shown
from nas.store.models import Metric, Trial
from nas.store.postgres import DRIVER
from nas.store.queries import Page, StudyRow, TrialRow
from search_spaces.space import Space, find_space

if TYPE_CHECKING:
    from optuna.storages import RDBStorage
    from optuna.trial import FrozenTrial

    from nas.strategies.views import ByRun

PART = 1000
STATES = {
    State.WAITING: "WAITING",
    State.RUNNING: "RUNNING",
    State.PAUSED: "RUNNING",
    State.STALE: "RUNNING",
    State.COMPLETED: "COMPLETE",
    State.STOPPED: "PRUNED",
    State.FAILED: "FAIL",
    State.INFEASIBLE: "FAIL",
}


class OptunaError(UserError):
    """A database that Optuna cannot use; one line that names it, without its password, and the remedy."""


def to_optuna(store: Store, study: StudyRow, url: str, tick: Callable[[], None] = lambda: None) -> int:
    """Write a study to the database of a URL in Optuna's format, and return the number of trials.

    `tick` is called for each. Raises OptunaError where the database has a study of that name, is a store of
    ours or cannot be used, and then has left nothing in it.
    """
    import optuna
    from optuna.study import StudyDirection

    from nas.strategies.views import ByRun

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if study.scoring is not None:
        raise OptunaError(f"study {study.name!r} is a scoring, which has no trials: export a search")
    objectives = [objective(name) for name in study.settings["objectives"]]
    space = find_space(study.settings["space"])
    shape = Shape(space, ByRun(space), objectives)
    storage = _storage(url)
    directions = [StudyDirection.MAXIMIZE if each.maximize else StudyDirection.MINIMIZE for each in objectives]
    try:
        made = optuna.create_study(storage=storage, study_name=study.name, directions=directions)
    except optuna.exceptions.DuplicatedStudyError:
        raise OptunaError(
            f"there is a study {study.name!r} in {shown(url)!r} already: name another database, or delete it there "
            f"with `optuna delete-study --study-name {study.name}`"
        ) from None
    try:
        settings = {name: value for name, value in study.settings.items() if name != "tree"}
        made.set_user_attr("nas:settings", settings)
        with warnings.catch_warnings(action="ignore", category=optuna.exceptions.ExperimentalWarning):
            made.set_metric_names([each.name for each in objectives])
        done = 0
        for trial in _trials(store, study, shape):
            made.add_trial(trial)
            done += 1
            tick()
    except BaseException:
        optuna.delete_study(study_name=study.name, storage=storage)
        raise
    finally:
        storage.engine.dispose()
    return done


@dataclass(frozen=True)
class Shape:
    """What the trials of a study have in common."""

    space: Space
    view: ByRun
    objectives: list[Objective]


def _trials(store: Store, study: StudyRow, shape: Shape) -> Iterator[FrozenTrial]:
    last = queries.last_number(store, study.id)
    for begin in range(0, last + 1, PART):
        rows = queries.trials(store, study.id, Page(numbers=(begin, begin + PART - 1)))
        curves = _curves(store, study, shape.objectives[0].metric or shape.objectives[0].name, begin)
        for row in rows:
            yield _frozen(row, shape, curves.get(row.id, {}))


def _frozen(row: TrialRow, shape: Shape, curve: Mapping[int, float]) -> FrozenTrial:
    from optuna.trial import TrialState, create_trial

    params = shape.space.trace(row.architecture)
    values = [row.values.get(each.name, math.nan) for each in shape.objectives]
    known = not any(map(math.isnan, values)) and row.state in (State.COMPLETED, State.STOPPED)
    state = "FAIL" if row.state is State.COMPLETED and not known else STATES[row.state]
    trial = create_trial(
        state=TrialState[state],
        values=values if known else None,
        params=params,
        distributions=shape.view.distributions(params),
        user_attrs=_attributes(row),
        intermediate_values=dict(curve),
    )
    trial.datetime_start = datetime.fromtimestamp(row.created)
    trial.datetime_complete = None if row.ended is None else datetime.fromtimestamp(row.ended)
    return trial


def _attributes(row: TrialRow) -> dict[str, Any]:
    told = {
        "number": row.number,
        "state": str(row.state),
        "identity": row.identity,
        "seed": row.seed,
        "parent": row.parent,
        "forked_at": row.forked_at,
        "reason": row.reason,
        **{f"value:{name}": value if math.isfinite(value) else str(value) for name, value in row.values.items()},
    }
    return {f"nas:{name}": value for name, value in told.items() if value is not None}


def _curves(store: Store, study: StudyRow, metric: str, begin: int) -> dict[int, dict[int, float]]:
    """Return a metric by trial id and epoch, of the trials of one part."""
    query = sa.select(Metric.trial_id, Metric.step, Metric.value).join(Trial).order_by(Metric.step)
    query = query.where(Trial.study_id == study.id, Trial.number.between(begin, begin + PART - 1))
    found: dict[int, dict[int, float]] = {}
    with store.reading() as connection:
        for trial, step, value in connection.execute(query.where(Metric.name == metric)):
            found.setdefault(trial, {})[step] = value
    return found


def _storage(url: str) -> RDBStorage:
    """Open a database for Optuna, but none of ours: both keep the revision of their schema in the same table."""
    from optuna.exceptions import StorageInternalError
    from optuna.storages import RDBStorage

    try:
        parsed = make_url(url)
        if parsed.drivername == "postgresql":
            parsed = parsed.set(drivername=DRIVER)
        engine = sa.create_engine(parsed)
        names = set(sa.inspect(engine).get_table_names())
        engine.dispose()
        if names >= TABLES:
            raise OptunaError(f"{shown(url)!r} is a store of nas: name another database for Optuna")
        return RDBStorage(parsed.render_as_string(hide_password=False))
    except (ArgumentError, NoSuchModuleError, ValueError):
        raise OptunaError(
            f"{shown(url)!r} is no database URL: write it as sqlite:///optuna.db or postgresql://USER@HOST/DATABASE"
        ) from None
    except (DBAPIError, StorageInternalError, ImportError) as error:
        raise OptunaError(f"{shown(url)!r} cannot be used by Optuna: {line(getattr(error, 'orig', error))}") from None
