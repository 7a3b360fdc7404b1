"""Predictors judged by what training gave: the scores of trained architectures, joined with their results."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from nas.job import ScoreJob
from nas.objectives import Constraint
from nas.scoring import find_predictor
from nas.scoring.bulk import Watch, score_all
from nas.scoring.settings import ask
from nas.scoring.study import Scoring
from nas.scoring.trained import Trained
from nas.store import Store, queries
from nas.store.queries import ScoreRow
from nas.study import Study, make_executor
from predictors.evaluate import Agreement
from predictors.evaluate import evaluate as compare
from search_spaces.decisions import identity


@dataclass(frozen=True)
class Evaluation:
    """The scores of trained architectures by predictor, and how far they agree with the results, by set of these.

    `seconds` is the mean time of an architecture; `reasons` say by predictor why some have no score, each with its
    number.
    """

    trained: Trained
    scores: dict[str, list[float | None]]
    agreements: dict[str, dict[str, Agreement]]
    seconds: dict[str, float | None]
    reasons: dict[str, dict[str, int]]


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
    """Score what has no scores yet, kept under the name of a scoring; noise of the space's own shape is the usual task.

    Raises StoreError for a scoring with other settings, or one that runs.
    """
    settings = ask(trained.space.name, len(trained.architectures), task, tuple(predictors), samples=samples, seed=seed)
    settings = replace(settings, source=trained.source)
    scoring = Scoring.create(store, settings, name, trained.architectures)
    scoring.run(make_executor(workers), watch)
    return _kept(store, scoring.row.id, predictors)


def score_study(
    study: Study,
    trained: Trained,
    predictors: Sequence[str],
    workers: int | None = None,
    watch: Watch = lambda progress: None,
) -> list[ScoreRow]:
    """Score what has no scores yet as a screening of the study would; the scores are kept in the study.

    Raises StoreError while another process runs the study.
    """
    s = study.settings
    constraints = tuple(Constraint.parse(text) for text in s.constraints)
    job = ScoreJob(tuple(predictors), (), s.seed, s.space, s.task, s.split_seed, constraints)
    with study.store.driving(study.name), closing(make_executor(workers)) as executor:
        score_all(study.store, study.row.id, executor, job, trained.architectures, watch)
    return _kept(study.store, study.row.id, predictors)


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
        seconds[name], reasons[name] = _mean([_seconds(rows) for rows in each]), _reasons(each)
    agreements = compare(scores, trained.truth, trained.degenerate, resamples=resamples, seed=seed)
    return Evaluation(trained, scores, agreements, seconds, reasons)


def _seconds(rows: Sequence[ScoreRow | None]) -> float | None:
    """Add up what the columns of one architecture took; None for one that was never built or tried."""
    taken = sum(row.seconds for row in rows if row is not None)
    return taken or None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _reasons(each: Sequence[Sequence[ScoreRow | None]]) -> dict[str, int]:
    """Count the reasons for which architectures have no score, the most frequent first."""
    said: Counter[str] = Counter()
    for rows in each:
        if None in rows:
            said["never scored"] += 1
        elif missing := [row for row in rows if row is not None and row.value is None]:
            said[missing[0].reason or "no reason was kept"] += 1
    return dict(said.most_common())
