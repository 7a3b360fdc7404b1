"""Learned surrogates, on functions whose answers are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from predictors.surrogate import MINIMUM, MODELS, Array, Scale, Unusable, fit

pytestmark = pytest.mark.filterwarnings("error")

ALL = sorted(MODELS)
WEIGHTS = np.array([3.0, -2.0, 1.5, 1.0, -1.0, 0.5, 0.0, 0.0])


def table(count: int, seed: int) -> Array:
    """Rows of 0 and 1, and a constant column."""
    rows = np.random.default_rng(seed).integers(2, size=(count, len(WEIGHTS))).astype(float)
    return np.concatenate([rows, np.full((count, 1), 7.0)], axis=1)


def additive(rows: Array) -> Array:
    return rows[:, :-1] @ WEIGHTS


@pytest.mark.parametrize("model", ALL)
def test_the_ranking_of_an_additive_function_is_found(model: str) -> None:
    rows = table(60, 0)
    losses = np.stack([additive(rows), 100 - 1e-3 * additive(rows)], axis=1)
    means, spreads = fit(rows, losses, model, 0).predict(table(200, 1))
    assert means.shape == spreads.shape == (200, 2)
    truth = additive(table(200, 1))
    assert spearmanr(means[:, 0], truth)[0] > 0.9 and spearmanr(means[:, 1], truth)[0] < -0.9


@pytest.mark.parametrize("model", ALL)
def test_it_is_less_certain_where_no_trials_were(model: str) -> None:
    rng = np.random.default_rng(3)
    rows = rng.uniform(0, 1, (60, 3)) * [1, 1, 0.4]
    losses = np.sin(6 * rows[:, :1]) + rows[:, 1:2] + rng.normal(0, 0.3, (60, 1)) * (rows[:, 2:] > 0.3)
    learned = fit(rows, losses, model, 0)
    near, far = learned.predict(rows[rows[:, 2] < 0.25])[1].mean(), learned.predict(rows * [1, 1, 0] + [0, 0, 2])[1]
    assert (learned.predict(rows)[1] >= 0).all()
    assert far.mean() > 1.2 * near


def test_a_gaussian_process_is_that_of_the_textbook() -> None:
    """Posterior mean and variance by the formulas of Rasmussen and Williams (2.25, 2.26), with the numbers it found."""
    rng = np.random.default_rng(0)
    rows, asked = rng.uniform(0, 1, (30, 2)), rng.uniform(0, 1, (5, 2))
    targets = np.sin(5 * rows[:, 0]) + rng.normal(0, 0.1, 30)
    process = MODELS["process"]()
    process.fit(rows, targets, 0)
    kernel = process._fitted.kernel_  # type: ignore[attr-defined]
    signal, length, noise = kernel.k1.k1.constant_value, kernel.k1.k2.length_scale, kernel.k2.noise_level

    def covariance(a: Array, b: Array) -> Array:
        d = math.sqrt(5) * np.linalg.norm(a[:, None] - b[None], axis=2) / length
        result: Array = signal * (1 + d + d**2 / 3) * np.exp(-d)
        return result

    inverse = np.linalg.inv(covariance(rows, rows) + noise * np.eye(30))
    across = covariance(asked, rows)
    standard = (targets - targets.mean()) / targets.std()
    mean = targets.mean() + targets.std() * across @ inverse @ standard
    variance = signal - np.einsum("ij,jk,ik->i", across, inverse, across)
    found = process.predict(asked)
    np.testing.assert_allclose(found[0], mean, rtol=1e-6)
    np.testing.assert_allclose(found[1], targets.std() * np.sqrt(variance), rtol=1e-4)


def test_an_average_is_the_mixture_of_its_members() -> None:
    rows = table(40, 0)
    losses, asked = additive(rows)[:, None], table(9, 1)
    process, boosted, average = (
        fit(rows, losses, name, 5).predict(asked) for name in ("process", "boosted", "average")
    )
    np.testing.assert_allclose(average[0], (process[0] + boosted[0]) / 2)
    second = (process[1] ** 2 + process[0] ** 2 + boosted[1] ** 2 + boosted[0] ** 2) / 2
    np.testing.assert_allclose(average[1], np.sqrt(second - average[0] ** 2), rtol=1e-6)


@pytest.mark.parametrize("model", ALL)
def test_the_same_seed_gives_the_same_surrogate(model: str) -> None:
    rows = table(150, 0)
    losses = (additive(rows) + np.random.default_rng(1).normal(0, 1, 150))[:, None]
    first, again, other = (fit(rows, losses, model, seed).predict(table(20, 2))[0] for seed in (1, 1, 2**32 - 1))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize("model", ALL)
def test_losses_that_are_not_finite_are_the_worst(model: str) -> None:
    rows = table(80, 0)
    losses = additive(rows)
    broken = losses.copy()
    broken[rows[:, 1] == 1] = math.inf
    broken[:3][rows[:3, 1] == 1] = math.nan
    means, _ = fit(rows, broken[:, None], model, 0).predict(table(200, 1))
    bad = table(200, 1)[:, 1] == 1
    assert np.isfinite(means).all() and means[bad].mean() > means[~bad].mean() + 0.5


def test_a_scale_by_hand() -> None:
    scale = Scale.of(np.array([1.0, 2.0, 3.0, 4.0, 103.0, math.inf]))
    unit = 1.4826  # the median is 3, the distances are 2, 1, 0, 1, 100
    expected = [-2 / unit, 0, math.log1p(100 / unit), math.log1p(100 / unit), math.log1p(100 / unit)]
    np.testing.assert_allclose(scale(np.array([1.0, 3.0, 103.0, math.inf, math.nan])), expected)


def test_losses_that_are_mostly_equal_have_a_scale() -> None:
    losses = np.array([5.0] * 9 + [4.0])
    scaled = Scale.of(losses)(losses)
    assert scaled[:9].tolist() == [0.0] * 9 and scaled[9] == pytest.approx(-1 / losses.std())
    assert Scale.of(np.full(4, 2.0))(np.full(4, 2.0)).tolist() == [0.0] * 4


def test_scaling_keeps_the_order() -> None:
    rows, rng = table(30, 0), np.random.default_rng(0)
    losses = rng.standard_cauchy((30, 2))
    scaled = fit(rows, losses, "process", 0).scaled(losses)
    for k in range(2):
        assert (scaled[:, k].argsort() == losses[:, k].argsort()).all()


@pytest.mark.parametrize("model", ALL)
def test_ten_trials_are_enough_and_nine_are_not(model: str) -> None:
    rows = table(MINIMUM, 4)
    assert MINIMUM == 10
    means, spreads = fit(rows, additive(rows)[:, None], model, 0).predict(rows)
    assert np.isfinite(means).all() and np.isfinite(spreads).all()
    with pytest.raises(Unusable, match="needs 10 trials, but got 9"):
        fit(rows[:9], additive(rows)[:9, None], model, 0)


def test_what_teaches_nothing_is_refused() -> None:
    with pytest.raises(Unusable, match="finite losses"):
        fit(table(12, 0), np.full((12, 1), math.inf), "trees", 0)
    with pytest.raises(Unusable, match="all have the same features"):
        fit(np.ones((12, 3)), np.arange(12.0)[:, None], "trees", 0)
    equal = fit(table(12, 0), np.ones((12, 1)), "average", 0).predict(table(5, 1))
    np.testing.assert_allclose(equal[0], 0, atol=1e-9)
