"""Predictors judged by what training gave: the scores of trained architectures, joined with their results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from statistics import median

from nas.job import ScoreJob
from nas.scoring import find_predictor
from nas.scoring.bulk import Watch, score_all
from nas.scoring.settings import ScoringSettings, ask
from nas.scoring.study import Scoring
from nas.scoring.trained import Trained
from nas.store import Store, StoreError, queries
from nas.store.queries import ScoreRow
from nas.study import Study, make_executor
from predictors.evaluate import Agreement
from predictors.evaluate import evaluate as compare
from search_spaces.decisions import identity

BREAKS = " breaks "  # in the reason of a score that a constraint withheld


@dataclass(frozen=True)
class Evaluation:
    """The scores of trained architectures by predictor, and how far they agree with the results, by set of these.

    `seconds` is the median time over architectures, without that in which the network is built: the mean would hold
    what a worker's first call costs. `reasons` say by predictor why some have no score, each with its number.
    """

    trained: Trained
    scores: dict[str, list[float | None]]
    agreements: dict[str, dict[str, Agreement]]
    seconds: dict[str, float | None]
    reasons: dict[str, dict[str, int]]


def table_job(
    trained: Trained, predictors: Sequence[str], task: str | None = None, samples: int = 16, seed: int = 0
) -> ScoreJob:
    """Say what the networks of a table are scored with: by default noise of the space's own shape."""
    s = _asked(trained, predictors, task, samples, seed)
    return ScoreJob(s.predictors, (), s.seed, s.space, s.task, s.split_seed, (), s.samples, s.memory)


def study_job(study: Study, predictors: Sequence[str]) -> ScoreJob:
    """Say what the networks of a study are scored with: as a screening of it would, but for its constraints.

    What was trained met them, and a latency could break its bound now by chance.
    """
    s = study.settings
    return ScoreJob(tuple(predictors), (), s.seed, s.space, s.task, s.split_seed)


def score_table(
    trained: Trained,
    predictors: Sequence[str],
    store: Store,
    name: str,
    *,
    workers: int | None = None,
    task: str | None = None,
    samples: int = 16,
    seed: int = 0,
    watch: Watch = lambda progress: None,
) -> list[ScoreRow]:
    """Score what has no scores yet, kept under the name of a scoring.

    Of a scoring that was made for more than is asked here, the rest waits. Raises StoreError for a scoring with other
    settings, of a space that has changed since, or one that runs.
    """
    settings = _asked(trained, predictors, task, samples, seed)
    scoring = Scoring.create(store, settings, name, trained.architectures)
    if not scoring.space.matches(scoring.row.settings["tree"]):
        raise StoreError(f"space {trained.space.name!r} is not the one that {name!r} began with: give another --study")
    job = replace(table_job(trained, predictors, task, samples, seed), memory=scoring.settings.memory)
    with store.driving(name), closing(make_executor(workers)) as executor:
        score_all(store, scoring.row.id, executor, job, trained.architectures, watch)
    return _kept(store, scoring.row.id, predictors)


def score_study(
    study: Study,
    trained: Trained,
    predictors: Sequence[str],
    workers: int | None = None,
    watch: Watch = lambda progress: None,
) -> list[ScoreRow]:
    """Score what has no scores yet as a screening of the study would; the scores are kept in the study.

    What a screening withheld for a broken constraint is scored, since it was trained. Raises StoreError while another
    process runs the study.
    """
    job = study_job(study, predictors)
    with study.store.driving(study.name), closing(make_executor(workers)) as executor:
        rows = _kept(study.store, study.row.id, predictors)
        withheld = {(row.identity, row.column) for row in rows if row.value is None and BREAKS in (row.reason or "")}
        score_all(study.store, study.row.id, executor, job, trained.architectures, watch, withheld)
    return _kept(study.store, study.row.id, predictors)


def _asked(trained: Trained, predictors: Sequence[str], task: str | None, samples: int, seed: int) -> ScoringSettings:
    settings = ask(trained.space.name, len(trained.architectures), task, tuple(predictors), samples=samples, seed=seed)
    return replace(settings, source=trained.source)


def _kept(store: Store, study: int, predictors: Sequence[str]) -> list[ScoreRow]:
    return queries.scored(store, study, [column for name in predictors for column in find_predictor(name).columns])


def evaluate(
    trained: Trained, predictors: Sequence[str], kept: Sequence[ScoreRow], resamples: int = 1000, seed: int = 0
) -> Evaluation:
    """Join trained architectures with what is kept of their scores, and correlate the two."""
    order = [identity(each) for each in trained.architectures]
    by_column: dict[str, dict[str, ScoreRow]] = defaultdict(dict)
    for row in kept:
        by_column[row.column][row.identity] = row
    scores, seconds, reasons = {}, {}, {}
    for name in predictors:
        predictor = find_predictor(name)
        columns = [[by_column[column].get(each) for each in order] for column in predictor.columns]
        values = {
            column: [None if row is None else row.value for row in rows]
            for column, rows in zip(predictor.columns, columns, strict=True)
        }
        scores[name] = predictor.pooled(values)
        each = list(zip(*columns, strict=True))
        seconds[name], reasons[name] = _median([_seconds(rows) for rows in each]), _reasons(each)
    agreements = compare(scores, trained.truth, trained.degenerate, resamples=resamples, seed=seed)
    return Evaluation(trained, scores, agreements, seconds, reasons)


def _seconds(rows: Sequence[ScoreRow | None]) -> float | None:
    """Add up what the columns of one architecture took; None for one that was never built or tried."""
    taken = sum(row.seconds for row in rows if row is not None)
    return taken or None


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return median(known) if known else None


def _reasons(each: Sequence[Sequence[ScoreRow | None]]) -> dict[str, int]:
    """Count the reasons for which architectures have no score, the most frequent first."""
    said: Counter[str] = Counter()
    for rows in each:
        if None in rows:
            said["never scored"] += 1
        elif missing := [row for row in rows if row is not None and row.value is None]:
            said[missing[0].reason or "no reason was kept"] += 1
    return dict(said.most_common())
