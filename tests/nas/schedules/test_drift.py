"""The drifting Gaussian process against scikit-learn's, and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, Matern

from nas.schedules.drift import Kernel, Points, Process, likeliest, log_likelihood, upper_bound

FAR = 1e9
RNG = np.random.default_rng(3)
KNOWN = Points(RNG.random((30, 2)), RNG.integers(1, 7, 30).astype(float))
WANTED = Points(RNG.random((40, 2)), RNG.integers(1, 9, 40).astype(float))
TARGETS = RNG.normal(size=30)


def points(*places: float, time: float = 1.0) -> Points:
    return Points(np.array(places).reshape(-1, 1), np.full(len(places), time))


def rows(given: Points) -> np.ndarray:
    return np.column_stack([given.places, given.times])


@pytest.mark.parametrize(("length", "drift", "noise"), [(0.3, 0.0, 0.05), (1.6, 0.0, 0.5), (0.2, 0.1, 0.01)])
def test_means_spreads_and_likelihood_are_those_of_scikit_learn(length: float, drift: float, noise: float) -> None:
    kernel = RBF([length, length, FAR])
    if drift:
        # (1 - drift)^(|t - t'| / 2) is exp(-|t - t'| / reach): a Matern kernel of order 1/2.
        kernel = kernel * Matern([FAR, FAR, -2 / math.log(1 - drift)], nu=0.5)
    peer = GaussianProcessRegressor(kernel, alpha=noise, optimizer=None).fit(rows(KNOWN), TARGETS)
    means, spreads = peer.predict(rows(WANTED), return_std=True)
    ours = Kernel(length, drift, noise)
    process = Process(ours, KNOWN)
    np.testing.assert_allclose(process.means(TARGETS, WANTED), means, atol=1e-6)
    np.testing.assert_allclose(process.spreads(WANTED), spreads, atol=1e-6)
    likelihood = log_likelihood(ours, ours(KNOWN, KNOWN), TARGETS)
    assert likelihood == pytest.approx(peer.log_marginal_likelihood_value_, abs=1e-5)


def test_what_is_long_past_is_forgotten() -> None:
    # One measurement of 1 at time 0, without noise but for the jitter: its mean at time t is (1 - drift)^(t / 2).
    process = Process(Kernel(0.3, 0.36, 0.0), points(0.5, time=0.0))
    for time in (1.0, 2.0, 6.0):
        mean = process.means(np.array([1.0]), points(0.5, time=time))
        assert mean == pytest.approx(0.8**time, abs=1e-6)
        assert process.spreads(points(0.5, time=time)) == pytest.approx(math.sqrt(1 - 0.8 ** (2 * time)), abs=1e-6)


def test_without_measurements_all_places_are_equal() -> None:
    nothing = points()
    bound = upper_bound(likeliest(nothing, np.array([])), nothing, np.array([]), nothing, points(0.1, 0.9))
    assert bound == pytest.approx([math.sqrt(0.2)] * 2)


def test_planned_points_count_for_the_spread_alone() -> None:
    kernel, known = Kernel(0.2, 0.0, 0.25), points(0.0)
    target, wanted = np.array([2.0]), points(0.0, 0.6)
    free = upper_bound(kernel, known, target, points(), wanted)
    # n = 1: beta = 0.2. At the measured place the mean is 2 / 1.25 and the variance 1 - 1 / 1.25 = 0.2.
    assert free[0] == pytest.approx(1.6 + math.sqrt(0.2 * 0.2))
    # At 0.6 = 3 lengths: covariance exp(-4.5).
    covariance = math.exp(-4.5)
    assert free[1] == pytest.approx(1.6 * covariance + math.sqrt(0.2 * (1 - covariance**2 / 1.25)))
    # With a plan at the same place, two measurements there: variance 1 - 2 / (2 + 0.25).
    planned = upper_bound(kernel, known, target, points(0.0), wanted)
    assert planned[0] == pytest.approx(1.6 + math.sqrt(0.2 * (1 - 2 / 2.25)))
    assert planned[1] < free[1]


def test_the_bound_widens_with_the_number_of_measurements() -> None:
    kernel, far = Kernel(0.1, 0.0, 0.1), points(0.9)
    bounds = [upper_bound(kernel, points(*[0.0] * n), np.zeros(n), points(), far)[0] for n in (2, 3, 30)]
    # ln(0.4 * 2) is below 0; the spread at 9 lengths is 1.
    assert bounds == pytest.approx([math.sqrt(0.2), math.sqrt(0.2 + math.log(1.2)), math.sqrt(0.2 + math.log(12))])


@pytest.mark.parametrize(("length", "drift"), [(0.2, 0.0), (0.8, 0.0), (0.2, 0.4)])
def test_the_likeliest_kernel_is_near_the_one_that_data_came_from(length: float, drift: float) -> None:
    rng = np.random.default_rng(8)
    where = Points(rng.random((150, 2)), np.repeat(np.arange(1.0, 11.0), 15))
    true = Kernel(length, drift, 0.05)
    drawn = np.linalg.cholesky(true(where, where) + 0.05 * np.eye(150)) @ rng.normal(size=150)
    found = likeliest(where, drawn)
    assert length / 2 <= found.length <= length * 2
    assert found.drift >= 0.2 if drift else found.drift <= 0.02
    assert 0.01 <= found.noise <= 0.2
