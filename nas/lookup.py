"""What a study of known results asks of them, and how one of its trials goes: nothing here trains."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

from nas.job import Evaluation, Infeasible, Job, Outcome, Report
from nas.objectives import Constraint, Objective, broken, objective, unseen
from nas.schedules import make_schedule
from nas.settings import SURROGATE, Settings, SettingsError
from nas.tasks import Known, Lookup, TaskError
from search_spaces.registry import entries
from search_spaces.space import Space


def refuse(settings: Settings, space: Space, lookup: Lookup) -> None:
    """Raise SettingsError for what the results do not tell, and TaskError where they are none of the space."""
    known = lookup.metrics(space)
    wanted = {_column(objective(name)): f"--objective {name}" for name in settings.objectives}
    limits = [Constraint.parse(text) for text in settings.constraints]
    wanted |= {limit.name: f"--constraint {limit}" for limit in limits}
    for column, option in wanted.items():
        if known is not None and column not in known:
            raise SettingsError(
                f"{option} needs a column {column}, which {lookup.name} has not: choose --objective max:COLUMN "
                f"or min:COLUMN with one of {', '.join(each for each in known if not unseen(each))}"
            )
    _refuse_epochs(settings, space, lookup)


def refuse_predictors(names: Sequence[str], space: Space, lookup: Lookup) -> None:
    """Raise SettingsError for a predictor whose scores are not among the results."""
    from nas.scoring import find_predictor  # imports torch

    known = lookup.metrics(space)
    if known is None:
        return
    for name in names:
        missing = [column for column in find_predictor(name).columns if column not in known]
        if missing:
            there = [each for each in entries("predictor") if set(find_predictor(each).columns) <= set(known)]
            wanted = f"{'a column' if len(missing) == 1 else 'the columns'} {', '.join(missing)}"
            raise SettingsError(
                f"predictor {name} needs {wanted}, which {lookup.name} has not, and nothing is built there to be "
                f"scored: use one of {', '.join([*there, SURROGATE])}"
            )


def usual_epochs(lookup: Lookup, space: Space) -> int | None:
    """Return the epochs of the longest trainings, 1 where none are told apart; None when any number will do."""
    epochs = lookup.epochs(space)
    if epochs is None:
        return 1
    return None if isinstance(epochs, range) else max(epochs)


def _refuse_epochs(settings: Settings, space: Space, lookup: Lookup) -> None:
    epochs = lookup.epochs(space)
    pauses = sorted(
        make_schedule(settings.schedule, settings.epochs, space, settings.seed, settings.schedule_options).pauses
    )
    if epochs is None:
        if pauses:
            raise SettingsError(
                f"--schedule {settings.schedule} stops trials early, but {lookup.name} has no column epoch: use none"
            )
        return
    for number, option in [(settings.epochs, "--epochs"), *((p, f"--schedule {settings.schedule} at") for p in pauses)]:
        if number not in epochs:
            raise SettingsError(
                f"{option} {number} is not known, because {lookup.name} has the epochs {_brief(sorted(epochs))}: "
                "choose --epochs among them, and --schedule none where it looks between them"
            )


def _brief(numbers: list[int]) -> str:
    if numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{numbers[0]} to {numbers[-1]}"
    return ", ".join(map(str, numbers[:20])) + (", ..." if len(numbers) > 20 else "")


def follow(job: Job, known: Known, name: str) -> Evaluation:
    """Go through a known training as a worker goes through a real one.

    Raises Infeasible for a broken constraint, for a figure that is missing and for one that is not finite.
    """
    objectives = [objective(each) for each in job.objectives]
    cheap = [each.name for each in objectives if each.cheap] + [each.name for each in job.constraints]
    _require(cheap, known.measured, name)
    yield Report(0, dict(known.measured))
    if reason := broken(job.constraints, known.measured):
        raise Infeasible(reason)
    trained = {each.name: each.metric for each in objectives if each.metric is not None}
    lost = job.pauses - {epoch.number for epoch in known.epochs}
    if trained and lost:
        raise TaskError(f"{name} says nothing of epoch {min(lost)}, after which trials are judged: use --schedule none")
    values = {each: known.measured[each] for each in cheap}
    for epoch in known.epochs if trained else ():
        figures = known.measured | epoch.metrics
        _require(trained.values(), figures, name)
        for metric in trained.values():
            if not math.isfinite(figures[metric]):
                raise Infeasible(f"{metric} of epoch {epoch.number} is {figures[metric]}")
        yield Report(epoch.number, dict(epoch.metrics))
        values |= {each: figures[metric] for each, metric in trained.items()}
    return Outcome({each.name: values[each.name] for each in objectives})


def _require(columns: Iterable[str], figures: Mapping[str, float], name: str) -> None:
    for column in columns:
        if column not in figures:
            raise Infeasible(f"{name} has no {column} of this architecture, but {', '.join(figures) or 'nothing'}")


def _column(each: Objective) -> str:
    return each.metric or each.name
