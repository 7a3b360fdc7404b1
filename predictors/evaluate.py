"""How far scores of untrained networks order them as training does: rank correlations on ground truth, with intervals.

Over three sets of architectures: all, those that are not degenerate (whose output depends on their input), and of
these the best tenth by their trained results, with all that equal the last of them. Beside each correlation stands its
difference from that of the best baseline, which is the one of greatest correlation in the same set.

Intervals are the 2.5th and 97.5th percentile over resamples (with replacement) of a set's architectures: the same
resamples for all scores, so that the difference of two scores is that on equal architectures. The sets and the best
baseline are chosen once and not anew in each resample, and one training stands for its architecture: intervals are of
the choice of architectures alone. Resamples in which a correlation is undefined are left out.

An architecture without a score is left out of that score's correlations and their differences; `last` is what the
correlation would be if such architectures shared the last rank. Of fewer than ten architectures there are no
correlations: a few say nothing, however narrow their interval.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from predictors.correlation import STATISTICS, Values, Weights

FEWEST = 10
BASELINES = ("params", "flops", "effective_params")
ALL, SOUND, BEST = "all", "non-degenerate", "best 10 %"
SHARE = 0.1
PERCENTILES = (2.5, 97.5)

Span = tuple[float, float]


@dataclass(frozen=True)
class Difference:
    """How much greater a score's correlation is than a baseline's, on the architectures that both score."""

    baseline: str
    value: float
    interval: Span


@dataclass(frozen=True)
class Correlation:
    """A rank correlation with its interval; `last` where architectures miss, `difference` where there is a baseline."""

    value: float
    interval: Span
    last: float | None
    difference: Difference | None


@dataclass(frozen=True)
class Agreement:
    """How a score orders a set of architectures; None where it or the truth is constant, or fewer than ten have one."""

    scored: int
    missing: int
    spearman: Correlation | None
    kendall: Correlation | None


def evaluate(
    scores: Mapping[str, Sequence[float | None] | Values],
    truth: ArrayLike,
    degenerate: ArrayLike | None = None,
    baselines: Sequence[str] = BASELINES,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, Agreement]]:
    """Compare scores [n] with trained results [n], both higher is better: by set, then by the score's name.

    A missing score is None or NaN. Without `degenerate` [n] there is no set of those that are not. Baselines that are
    no scores are ignored. Raises ValueError for lengths that differ, and for a result that is not a number.
    """
    results = np.asarray(truth, np.float64)
    columns = {name: np.array(column, np.float64) for name, column in scores.items()}  # None becomes NaN
    flags = None if degenerate is None else np.asarray(degenerate, bool)
    for name, column in (*columns.items(), *([] if flags is None else [("degenerate", flags)])):
        if column.shape != results.shape:
            raise ValueError(f"{name} has the shape {column.shape}, but the truth {results.shape}: give one each")
    if np.isnan(results).any():
        raise ValueError(f"result {int(np.isnan(results).argmax())} of the truth is not a number: leave it out")
    there = [name for name in baselines if name in columns]
    return {
        what: _agreements({name: each[rows] for name, each in columns.items()}, results[rows], there, resamples, seed)
        for what, rows in sets(results, flags).items()
    }


def sets(truth: Values, degenerate: NDArray[np.bool_] | None) -> dict[str, NDArray[np.bool_]]:
    """Return which architectures belong to each set."""
    found = {ALL: np.ones(len(truth), bool)}
    if degenerate is not None:
        found[SOUND] = ~degenerate
    sound = found.get(SOUND, found[ALL])
    ranked = np.sort(truth[sound])[::-1]
    least = ranked[math.ceil(SHARE * len(ranked)) - 1] if len(ranked) else np.inf
    return found | {BEST: sound & (truth >= least)}


def resampled(count: int, resamples: int, seed: int) -> Weights:
    """Return how often each of so many architectures is in each resample: [resamples, count]."""
    drawn = np.random.default_rng(seed).integers(count, size=(resamples, count))
    weights = np.zeros((resamples, count), np.int64)
    np.add.at(weights, (np.arange(resamples)[:, None], drawn), 1)
    return weights


def _agreements(
    scores: Mapping[str, Values], truth: Values, baselines: Sequence[str], resamples: int, seed: int
) -> dict[str, Agreement]:
    present = {name: ~np.isnan(column) for name, column in scores.items()}
    if len(truth) < FEWEST:
        return {name: Agreement(int(rows.sum()), int((~rows).sum()), None, None) for name, rows in present.items()}
    weights = np.concatenate([np.ones((1, len(truth)), np.int64), resampled(len(truth), resamples, seed)])

    @cache
    def correlated(statistic: str, name: str, other: str) -> Values:
        """Correlate a score over what `other` scores too: first as it is, then by resample."""
        rows = present[name] & present[other]
        if rows.sum() < FEWEST:
            return np.full(len(weights), np.nan)
        if other != name and np.array_equal(rows, present[name]):
            return correlated(statistic, name, name)
        return STATISTICS[statistic](scores[name][rows], truth[rows], weights[:, rows])

    def best_baseline(statistic: str) -> str | None:
        values = {name: correlated(statistic, name, name)[0] for name in baselines}
        values = {name: value for name, value in values.items() if not math.isnan(value)}
        return max(values, key=values.__getitem__, default=None)

    def correlation(statistic: str, name: str) -> Correlation | None:
        estimates = correlated(statistic, name, name)
        interval = _interval(estimates[1:])
        if math.isnan(estimates[0]) or interval is None:
            return None
        baseline, difference = best_baseline(statistic), None
        if baseline is not None and baseline != name:
            gaps = correlated(statistic, name, baseline) - correlated(statistic, baseline, name)
            span = _interval(gaps[1:])
            if not math.isnan(gaps[0]) and span is not None:
                difference = Difference(baseline, float(gaps[0]), span)
        return Correlation(float(estimates[0]), interval, last(statistic, name), difference)

    def last(statistic: str, name: str) -> float | None:
        if present[name].all():
            return None
        column = np.where(present[name], scores[name], -np.inf)
        return float(STATISTICS[statistic](column, truth, weights[:1])[0])

    return {
        name: Agreement(
            int(rows.sum()), int((~rows).sum()), correlation("spearman", name), correlation("kendall", name)
        )
        for name, rows in present.items()
    }


def _interval(estimates: Values) -> Span | None:
    """Return the percentiles of the resamples' estimates, None where none is defined."""
    defined = estimates[~np.isnan(estimates)]
    if not len(defined):
        return None
    low, high = np.percentile(defined, PERCENTILES)
    return float(low), float(high)
