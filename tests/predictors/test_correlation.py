"""Weighted rank correlations beside SciPy's on the rows written out, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau, spearmanr

from predictors import correlation
from predictors.correlation import STATISTICS, Values, Weights

PEERS = {"spearman": spearmanr, "kendall": kendalltau}


def tied(n: int, seed: int) -> tuple[Values, Values]:
    """Two columns that agree somewhat, with many equal values in each."""
    rng = np.random.default_rng(seed)
    x = rng.integers(6, size=n).astype(float)
    return x, np.round(x + rng.normal(scale=3, size=n))


def drawn(m: int, n: int, seed: int) -> Weights:
    return np.random.default_rng(seed).integers(0, 4, (m, n))


@pytest.mark.parametrize("name", STATISTICS)
def test_a_weight_is_a_row_that_comes_so_often(name: str) -> None:
    x, y = tied(40, 1)
    weights = drawn(25, 40, 2)
    expected = [PEERS[name](np.repeat(x, w), np.repeat(y, w)).statistic for w in weights]
    assert STATISTICS[name](x, y, weights) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("name", STATISTICS)
def test_blocks_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = tied(40, 3)
    whole = STATISTICS[name](x, y, drawn(25, 40, 4))
    for block in (1, 41, 120, 999):
        monkeypatch.setattr(correlation, "BLOCK", block)
        assert np.array_equal(STATISTICS[name](x, y, drawn(25, 40, 4)), whole)


def test_by_hand() -> None:
    """Of the pairs 12, 13, 14, 23, 24, 34 one is in the wrong order; the ranks differ by 0, 1, 1, 0."""
    x, y, once = np.array([1.0, 2, 3, 4]), np.array([10.0, 30, 20, 40]), np.ones((1, 4), np.int64)
    assert STATISTICS["kendall"](x, y, once) == pytest.approx([4 / 6])
    assert STATISTICS["spearman"](x, y, once) == pytest.approx([1 - 6 * 2 / (4 * 15)])


@pytest.mark.parametrize("name", STATISTICS)
def test_infinite_values_have_a_rank_too(name: str) -> None:
    x, y = np.array([-np.inf, -np.inf, 0, 5, np.inf]), np.array([1.0, 2, 4, 3, 9])
    once = np.ones((1, 5), np.int64)
    assert np.array_equal(STATISTICS[name](x, y, once), STATISTICS[name](np.array([0.0, 0, 1, 2, 3]), y, once))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", STATISTICS)
def test_what_is_constant_under_its_weights_has_no_correlation(name: str) -> None:
    x, y = np.array([1.0, 1, 2]), np.array([1.0, 2, 3])
    found = STATISTICS[name](x, y, np.array([[1, 1, 0], [0, 1, 2], [0, 0, 3], [0, 0, 0]]))
    assert np.isnan(found).tolist() == [True, False, True, True] and found[1] == 1
    assert np.isnan(STATISTICS[name](y, x, np.array([[1, 1, 0]]))).all()


@pytest.mark.parametrize("name", STATISTICS)
def test_equal_orders_give_one_and_never_more(name: str) -> None:
    x, weights = tied(50, 5)[0], drawn(30, 50, 6)
    assert (STATISTICS[name](x, 3 * x + 1, weights) <= 1).all()
    assert STATISTICS[name](x, 3 * x + 1, weights) == pytest.approx(np.ones(30), abs=1e-15)
    assert STATISTICS[name](x, -x, weights) == pytest.approx(-np.ones(30), abs=1e-15)


def test_kendall_is_exact_where_single_precision_would_not_be() -> None:
    """A rank correlation of 5,000 rows, in sums far above 2^24."""
    rng = np.random.default_rng(7)
    x = rng.permutation(5000).astype(float)
    y = x + rng.normal(scale=2000, size=5000)
    expected = kendalltau(x, y).statistic
    assert STATISTICS["kendall"](x, y, np.ones((1, 5000), np.int64))[0] == pytest.approx(expected, abs=1e-14)
