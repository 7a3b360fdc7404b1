"""Ensembles of scores: ranks and weights by hand, and against other solvers."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.stats import rankdata

from predictors import ensemble
from predictors.ensemble import PRIOR, Weighted, by_rank, learn

pytestmark = pytest.mark.filterwarnings("error")

SCORES = st.lists(
    st.tuples(*[st.one_of(st.none(), st.integers(-3, 3).map(float))] * 3), min_size=2, max_size=12
)  # few values, so that ties are the rule


def columns(rows: list[tuple[float | None, ...]]) -> list[list[float | None]]:
    return [list(column) for column in zip(*rows, strict=True)]


def test_ranks_are_averaged() -> None:
    """Places by hand: (0 + 3) / 6, (3 + 0) / 6, (2 + 2) / 6, (1 + 1) / 6."""
    assert by_rank([[1.0, 1e9, 3.0, 2.0], [40.0, 10.0, 30.0, 20.0]]) == pytest.approx([1 / 2, 1 / 2, 2 / 3, 1 / 3])


def test_equal_scores_share_the_mean_of_their_places() -> None:
    assert by_rank([[5.0, 1.0, 5.0, 5.0]]) == pytest.approx([2 / 3, 0, 2 / 3, 2 / 3])
    assert by_rank([[7.0, 7.0, 7.0]]) == [0.5] * 3 and by_rank([[7.0]]) == by_rank([[None]]) == [0.5]


@pytest.mark.parametrize("odd", [None, math.nan, math.inf, -math.inf])
def test_what_has_no_finite_score_is_last(odd: float | None) -> None:
    assert by_rank([[odd, -1e300, odd, 0.0]]) == pytest.approx([1 / 6, 2 / 3, 1 / 6, 1])


@given(SCORES)
def test_ranks_are_those_of_another_library(rows: list[tuple[float | None, ...]]) -> None:
    given_ = np.array([[-9.0 if each is None else each for each in row] for row in rows])
    expected = (rankdata(given_, axis=0) - 1).mean(axis=1) / (len(rows) - 1)
    assert by_rank(columns(rows)) == pytest.approx(expected.tolist())


@given(SCORES)
def test_equal_sums_of_places_tie_exactly(rows: list[tuple[float | None, ...]]) -> None:
    given_ = np.array([[-9.0 if each is None else each for each in row] for row in rows])
    exact = [sum(map(Fraction, row)) for row in rankdata(given_, axis=0).tolist()]
    found, learned = by_rank(columns(rows)), learn([[], [], []], [])(columns(rows))
    assert found == learned
    for i, j in np.ndindex(len(rows), len(rows)):
        assert (found[i] < found[j]) == (exact[i] < exact[j])


def test_a_score_follows_its_weight() -> None:
    """Places 0, 1, 2 and 2, 0, 1 with the weights 3 and 1, by hand: 2/8, 3/8, 7/8."""
    assert Weighted((3.0, 1.0))([[1.0, 2.0, 3.0], [9.0, 7.0, 8.0]]) == pytest.approx([2 / 8, 3 / 8, 7 / 8])
    assert Weighted((0.0, 0.0))([[1.0, 2.0], [1.0, 2.0]]) == [0.5, 0.5]


def drawn(n: int, *noises: float) -> tuple[list[list[float]], list[float]]:
    """Return columns that tell losses with so much noise, infinite for nothing else."""
    rng = np.random.default_rng(n)
    losses = rng.normal(size=n)
    told = [rng.normal(size=n) if math.isinf(s) else -losses + s * rng.normal(size=n) for s in noises]
    return [np.exp(3 * each).tolist() for each in told], losses.tolist()


def test_with_few_trials_the_weights_are_almost_equal_and_with_many_those_of_what_is_right() -> None:
    before = 0.5
    for n in (0, 1, 5, 40, 400, 4000):
        weights = learn(*drawn(n, 0.0, math.inf)).weights
        share = weights[0] / sum(weights)
        assert share > before or n < 2
        before = share
    assert learn(*drawn(0, 0.0, math.inf)).weights == learn(*drawn(1, 0.0, math.inf)).weights == (0.5, 0.5)
    assert weights == pytest.approx((1, 0), abs=0.02)


def test_predictors_that_say_the_same_weigh_the_same() -> None:
    (one, noise), losses = drawn(30, 0.5, math.inf)
    first, second, other = learn([one, [math.log(each) for each in one], noise], losses).weights
    assert first == pytest.approx(second) and first > 2 * other


def test_what_is_always_wrong_weighs_nothing() -> None:
    (one,), losses = drawn(500, 0.3)
    learned = learn([[-each for each in one]], losses)
    assert learned.weights == (0,) and learned([[1.0, 2.0]]) == [0.5, 0.5]


def test_one_predictor_and_two_by_hand() -> None:
    """Two trials of ranks 0 and 1, told right: the minimum of (1 - w)² / 2 + b (w - 1)² is at 1.

    Of two predictors, the second wrong, that of (1 - u + v)² / 2 + b (u - ½)² + b (v - ½)² is at v = 1 - u and
    2 - 2u = b (2u - 1).
    """
    assert learn([[3.0, 7.0]], [2.0, 1.0]).weights == pytest.approx((1,))
    b = PRIOR / 12
    u = (2 + b) / (2 + 2 * b)
    assert learn([[3.0, 7.0], [7.0, 3.0]], [2.0, 1.0]).weights == pytest.approx((u, 1 - u))


@pytest.mark.parametrize("n", [3, 10, 60])
def test_the_weights_are_the_minimum_that_another_solver_finds(n: int) -> None:
    told, losses = drawn(n, 0.3, 1.0, math.inf, 0.9)
    told[3] = [-each for each in told[3]]
    ranks = (rankdata(told, axis=1) - 1) / (n - 1) - 0.5
    worth = 0.5 - (rankdata(losses) - 1) / (n - 1)

    def error(weights: np.ndarray) -> float:
        return float(((worth - weights @ ranks) ** 2).sum() + PRIOR / 12 * ((weights - 1 / 4) ** 2).sum())

    found = minimize(error, np.full(4, 0.3), bounds=[(0, None)] * 4, tol=1e-14)
    assert learn(told, losses).weights == pytest.approx(found.x.tolist(), abs=1e-5)
    assert n < 60 or found.x[3] == 0


@pytest.mark.parametrize("odd", [math.inf, math.nan])
def test_an_infinite_loss_is_the_worst(odd: float) -> None:
    told = [[4.0, 1.0, 2.0, 3.0], [1.0, 2.0, 4.0, 3.0]]
    assert learn(told, [0.0, odd, 5.0, 1.0]) == learn(told, [0.0, 99.0, 5.0, 1.0]) != learn(told, [0.0, -9.0, 5.0, 1.0])


def test_the_prior_is_worth_so_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """With one predictor right and one orthogonal, and n trials, w - 1/2 is n / (n + P) of what it is without prior."""
    ranks = np.array([(i, j) for i in range(20) for j in range(20)], dtype=float)
    for prior in (100.0, 400.0):
        monkeypatch.setattr(ensemble, "PRIOR", prior)
        weights = learn(ranks.T.tolist(), (-ranks[:, 0]).tolist()).weights
        share = 400 / (400 + prior)
        assert weights == pytest.approx((0.5 + 0.5 * share, 0.5 - 0.5 * share), abs=0.005)
