"""What a scoring says: scores and ranks of its architectures, what could not be scored and why, and the time it took.

    mean rank = mean over the predictors of 1 + the number of architectures with a better score

An architecture that a predictor gave no score ranks after all that have one.
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from io import StringIO
from statistics import fmean
from typing import TYPE_CHECKING, Any

from nas.scoring import find_predictor
from nas.scoring.architectures import written
from nas.store import queries
from search_spaces.decisions import Architecture

if TYPE_CHECKING:
    import pandas

    from nas.scoring.study import Scoring

FIGURE = r"[-+]?\d[\d,.]*(e[-+]?\d+)?"


@dataclass(frozen=True)
class Ranked:
    """An architecture with its score and rank by each predictor, None where it has none; `measured` is by column."""

    number: int
    architecture: Architecture
    scores: dict[str, float | None]
    ranks: dict[str, int | None]
    mean_rank: float
    measured: dict[str, float | None]
    reasons: dict[str, str]


@dataclass(frozen=True)
class Tally:
    """How a predictor fared: architectures tried and scored, and the mean seconds of those tried.

    `reasons` are those why the others have no score, each with its number, the most common first. Reasons that differ
    in their figures alone count as one, and the first stands for all.
    """

    predictor: str
    tried: int
    scored: int
    reasons: tuple[tuple[str, int], ...]
    seconds: float


def ranked(scoring: Scoring) -> list[Ranked]:
    """Return all architectures of a scoring, the best mean rank first."""
    rows = scoring.rows()
    columns = scoring.settings.columns
    names = [column for each in columns.values() for column in each]
    kept = queries.scored(scoring.store, scoring.row.id, names)
    measured: dict[str, dict[str, float | None]] = {row.identity: dict.fromkeys(names) for row in rows}
    reasons: dict[str, dict[str, str]] = {row.identity: {} for row in rows}
    predictor_of = {column: name for name, each in columns.items() for column in each}
    for each in kept:
        measured[each.identity][each.column] = each.value
        if each.reason is not None:
            reasons[each.identity][predictor_of[each.column]] = each.reason
    table = {column: [measured[row.identity][column] for row in rows] for column in names}
    scores = {name: find_predictor(name).pooled(table) for name in columns}
    ranks = {name: ranks_of(each) for name, each in scores.items()}
    last = {name: 1 + sum(value is not None for value in each) for name, each in scores.items()}
    found = [
        Ranked(
            number=row.number,
            architecture=row.architecture,
            scores={name: scores[name][i] for name in columns},
            ranks={name: ranks[name][i] for name in columns},
            mean_rank=fmean(last[name] if (rank := ranks[name][i]) is None else rank for name in columns),
            measured=measured[row.identity],
            reasons=reasons[row.identity],
        )
        for i, row in enumerate(rows)
    ]
    return sorted(found, key=lambda each: (each.mean_rank, each.number))


def ranks_of(scores: Sequence[float | None]) -> list[int | None]:
    """Return 1 + the number of better scores for each, None where there is none; equal scores share a rank."""
    known = sorted(value for value in scores if value is not None)
    return [None if value is None else 1 + len(known) - bisect_right(known, value) for value in scores]


def tallies(scoring: Scoring) -> list[Tally]:
    """Return how each predictor fared, with its most common reasons first."""
    found = []
    for name, columns in scoring.settings.columns.items():
        kept = queries.scored(scoring.store, scoring.row.id, columns)
        first = [each for each in kept if each.column == columns[0]]
        reasons: dict[str, list[str]] = {}
        for each in first:
            if each.reason is not None:
                reasons.setdefault(re.sub(FIGURE, "#", each.reason), []).append(each.reason)
        counted = sorted(((said[0], len(said)) for said in reasons.values()), key=lambda pair: -pair[1])
        seconds = sum(each.seconds for each in kept) / max(1, len(first))
        scored = sum(each.value is not None for each in first)
        found.append(Tally(name, len(first), scored, tuple(counted), seconds))
    return found


def to_csv(scoring: Scoring, ranking: Sequence[Ranked]) -> str:
    """Write a table that `table:PATH` reads: architecture, a column for each predictor, and what it is pooled from."""
    columns = scoring.settings.columns
    parts = [column for name, each in columns.items() for column in each if column != name]
    lines = StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(["architecture", *columns, *parts])
    for each in ranking:
        cells = [*each.scores.values(), *(each.measured[part] for part in parts)]
        writer.writerow([written(each.architecture, scoring.space), *("" if cell is None else cell for cell in cells)])
    return lines.getvalue()


def to_frame(scoring: Scoring) -> pandas.DataFrame:
    """Return a row for each architecture, the best first: number, scores, mean rank and decisions."""
    import pandas

    def record(each: Ranked) -> dict[str, Any]:
        head: dict[str, Any] = {"number": each.number, **each.scores, "mean_rank": each.mean_rank}
        return head | scoring.space.trace(each.architecture)

    return pandas.DataFrame([record(each) for each in ranked(scoring)])
