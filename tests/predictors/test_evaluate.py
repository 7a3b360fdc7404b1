"""Scores judged by trained results: sets, bootstrap, missing scores, and the difference from the best baseline."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from predictors.evaluate import ALL, BEST, SOUND, Correlation, evaluate, resampled, sets

PEERS = {"spearman": spearmanr, "kendall": kendalltau}
COUNT = 160
RNG = np.random.default_rng(0)
TRUTH = np.round(RNG.normal(size=COUNT), 1)
SCORES = {
    "good": np.round(TRUTH + RNG.normal(scale=0.4, size=COUNT), 1),
    "params": np.round(TRUTH + RNG.normal(scale=3, size=COUNT), 1),
    "flops": np.round(TRUTH + RNG.normal(scale=1, size=COUNT), 1),
}
DEGENERATE = TRUTH < -1
FOUND = evaluate(SCORES, TRUTH, DEGENERATE, resamples=50, seed=3)


def known(found: Any, name: str, statistic: str, what: str = ALL) -> Correlation:
    correlation = getattr(found[what][name], statistic)
    assert isinstance(correlation, Correlation)
    return correlation


def indices(count: int, resamples: int, seed: int) -> list[Any]:
    return [np.repeat(np.arange(count), times) for times in resampled(count, resamples, seed)]


@pytest.mark.parametrize("statistic", PEERS)
@pytest.mark.parametrize("what", [ALL, SOUND, BEST])
def test_values_and_intervals_are_those_of_a_slow_bootstrap(statistic: str, what: str) -> None:
    rows = sets(TRUTH, DEGENERATE)[what]
    truth, peer = TRUTH[rows], PEERS[statistic]
    for name, score in SCORES.items():
        score = score[rows]
        again = [peer(score[i], truth[i]).statistic for i in indices(len(truth), 50, 3)]
        found = known(FOUND, name, statistic, what)
        assert found.value == pytest.approx(peer(score, truth).statistic)
        assert found.interval == pytest.approx(np.percentile(again, [2.5, 97.5]))


@pytest.mark.parametrize("statistic", PEERS)
def test_the_difference_is_paired_and_from_the_best_baseline(statistic: str) -> None:
    peer = PEERS[statistic]
    gaps = [
        peer(SCORES["good"][i], TRUTH[i]).statistic - peer(SCORES["flops"][i], TRUTH[i]).statistic
        for i in indices(COUNT, 50, 3)
    ]
    difference = known(FOUND, "good", statistic).difference
    assert difference is not None and difference.baseline == "flops"
    values = [known(FOUND, name, statistic).value for name in ("good", "flops")]
    assert difference.value == pytest.approx(values[0] - values[1])
    assert difference.interval == pytest.approx(np.percentile(gaps, [2.5, 97.5]))


def test_the_best_baseline_has_no_difference_and_the_others_have() -> None:
    assert known(FOUND, "flops", "spearman").difference is None
    difference = known(FOUND, "params", "spearman").difference
    assert difference is not None and difference.baseline == "flops" and difference.value < 0


def test_without_baselines_there_is_no_difference() -> None:
    found = evaluate({"good": SCORES["good"]}, TRUTH, resamples=5)
    assert known(found, "good", "kendall").difference is None


def test_the_best_baseline_is_that_of_the_set() -> None:
    truth = np.arange(100.0)
    flops = np.where(truth < 90, truth, -truth)  # right but for the order of the best
    params = np.where(truth < 90, 0, truth)
    found = evaluate({"x": truth, "params": params, "flops": flops}, truth, resamples=5)
    baselines = {}
    for what in (ALL, BEST):
        difference = known(found, "x", "kendall", what).difference
        assert difference is not None
        baselines[what] = difference.baseline
    assert baselines == {ALL: "flops", BEST: "params"}


def test_resamples_draw_as_many_as_there_are_with_equal_chances() -> None:
    drawn = resampled(30, 2000, 1)
    assert drawn.shape == (2000, 30) and (drawn.sum(1) == 30).all() and (drawn >= 0).all()
    assert drawn.mean(0) == pytest.approx(np.ones(30), abs=6 / math.sqrt(2000))
    assert drawn.var() == pytest.approx(29 / 30, abs=0.03)  # of a binomial with chance 1/30
    assert not np.array_equal(drawn, resampled(30, 2000, 2))


def test_the_same_seed_gives_the_same_intervals() -> None:
    assert evaluate(SCORES, TRUTH, DEGENERATE, resamples=50, seed=3) == FOUND
    assert evaluate(SCORES, TRUTH, DEGENERATE, resamples=50, seed=4) != FOUND


@pytest.mark.parametrize("statistic", PEERS)
def test_intervals_cover_the_true_correlation_about_as_often_as_they_say(statistic: str) -> None:
    """Of normal pairs with correlation r, τ = 2/π·asin r and ρ = 6/π·asin r/2."""
    r, rng, covered = 0.6, np.random.default_rng(11), 0
    true = 2 / math.pi * math.asin(r) if statistic == "kendall" else 6 / math.pi * math.asin(r / 2)
    for seed in range(200):
        x = rng.normal(size=60)
        y = r * x + math.sqrt(1 - r * r) * rng.normal(size=60)
        low, high = known(evaluate({"x": x}, y, resamples=200, seed=seed), "x", statistic).interval
        covered += low <= true <= high
    assert 0.88 <= covered / 200 <= 0.985


def test_sets_by_hand() -> None:
    truth = np.array([10.0, 93, 94, 91, 90, 95, 10, 80, 85, 70, 60, 94, 50, 40])
    degenerate = np.array([True] + [False] * 4 + [True] + [False] * 8)
    found = {what: np.flatnonzero(rows).tolist() for what, rows in sets(truth, degenerate).items()}
    assert found[ALL] == list(range(14))
    assert found[SOUND] == [1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 13]
    assert found[BEST] == [2, 11]  # ⌈12 / 10⌉ are two
    assert np.flatnonzero(sets(truth, None)[BEST]).tolist() == [2, 5, 11]  # ⌈14 / 10⌉ are two, and one equals the last
    assert SOUND not in sets(truth, None)


def test_ten_of_a_hundred_are_the_best_tenth() -> None:
    assert np.flatnonzero(sets(np.arange(100.0), None)[BEST]).tolist() == list(range(90, 100))


@pytest.mark.parametrize("statistic", PEERS)
def test_missing_scores_are_left_out_and_counted(statistic: str) -> None:
    some = [None if i in (0, 7) else math.nan if i == 9 else float(value) for i, value in enumerate(SCORES["good"])]
    found = evaluate({**SCORES, "some": some}, TRUTH, resamples=20, seed=3)
    rows = np.array([value is not None and not math.isnan(value) for value in some])
    score, truth, peer = SCORES["good"][rows], TRUTH[rows], PEERS[statistic]
    correlation = known(found, "some", statistic)
    assert (found[ALL]["some"].scored, found[ALL]["some"].missing) == (COUNT - 3, 3)
    assert correlation.value == pytest.approx(peer(score, truth).statistic)
    last = np.where(rows, SCORES["good"], -1e9)
    assert correlation.last == pytest.approx(peer(last, TRUTH).statistic)
    kept = [i[rows[i]] for i in indices(COUNT, 20, 3)]
    again = [peer(SCORES["good"][i], TRUTH[i]).statistic for i in kept]
    assert correlation.interval == pytest.approx(np.percentile(again, [2.5, 97.5]))
    difference = correlation.difference
    assert difference is not None
    baseline = SCORES["flops"][rows]
    assert difference.value == pytest.approx(peer(score, truth).statistic - peer(baseline, truth).statistic)
    assert known(found, "good", statistic).last is None and found[ALL]["good"].missing == 0


@pytest.mark.parametrize("statistic", PEERS)
def test_a_baseline_that_misses_some_is_compared_where_both_are(statistic: str) -> None:
    flops = [None if i < 20 else float(value) for i, value in enumerate(SCORES["flops"])]
    difference = known(
        evaluate({"good": SCORES["good"], "flops": flops}, TRUTH, resamples=9), "good", statistic
    ).difference
    peer = PEERS[statistic]
    expected = [peer(SCORES[name][20:], TRUTH[20:]).statistic for name in ("good", "flops")]
    assert difference is not None and difference.value == pytest.approx(expected[0] - expected[1])


UP = [float(i) for i in range(12)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("score", "truth"),
    [
        ([1.0] * 12, UP),
        (UP, [1.0] * 12),
        ([None] * 12, UP),
        ([None] * 3 + UP[:9], UP),
        (UP[:9], UP[:9]),
        ([2.0], [1.0]),
        ([], []),
    ],
)
def test_what_has_no_correlation_has_none(score: list[float | None], truth: list[float]) -> None:
    params = [float(i) for i in range(len(truth))]
    found = evaluate({"x": score, "params": params}, truth, [False] * len(truth), resamples=20)
    for agreements in found.values():
        assert agreements["x"].spearman is agreements["x"].kendall is None
    assert found[ALL]["x"].scored + found[ALL]["x"].missing == len(truth)
    assert found[ALL]["x"].missing == score.count(None)


@pytest.mark.filterwarnings("error")
def test_ten_are_enough() -> None:
    some = [None] * 2 + UP[:10]
    assert known(evaluate({"x": some}, UP, resamples=20), "x", "kendall").value == 1
    assert known(evaluate({"x": UP[:10]}, UP[:10], resamples=20), "x", "kendall").value == 1


@pytest.mark.filterwarnings("error")
def test_there_is_no_difference_where_fewer_than_ten_have_both() -> None:
    scores: dict[str, list[float | None]] = {"x": [None] * 2 + UP[:10], "flops": UP[:10] + [None] * 2}
    found = evaluate(scores, UP, resamples=20)
    assert known(found, "x", "kendall").difference is None and known(found, "flops", "kendall").value == 1


@pytest.mark.filterwarnings("error")
def test_a_constant_baseline_is_not_the_best() -> None:
    found = evaluate({**SCORES, "params": np.ones(COUNT), "flops": -TRUTH}, TRUTH, resamples=5)
    difference = known(found, "good", "kendall").difference
    assert difference is not None and difference.baseline == "flops"


@pytest.mark.filterwarnings("error")
def test_resamples_without_a_correlation_are_left_out() -> None:
    """Where one of ten differs, a third of the resamples (0.9¹⁰) do not hold it, and are of equal ones alone."""
    one = [1.0] + [0.0] * 9
    assert known(evaluate({"x": one}, one, resamples=50), "x", "spearman").interval == (1, 1)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ValueError, match=r"x has the shape \(2,\), but the truth \(3,\)"):
        evaluate({"x": [1.0, 2.0]}, [1.0, 2, 3])
    with pytest.raises(ValueError, match="degenerate has the shape"):
        evaluate({"x": [1.0, 2.0]}, [1.0, 2], [True])
    with pytest.raises(ValueError, match="result 1 of the truth is not a number"):
        evaluate({"x": [1.0, 2.0]}, [1.0, math.nan])
