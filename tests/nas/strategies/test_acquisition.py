"""Expected improvement, of one objective and of several, against closed forms, drawn losses and counted boxes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import norm

from nas.strategies.acquisition import Array, expected_improvement, reference_point

pytestmark = pytest.mark.filterwarnings("error")


def drawn(mean: Array, spread: Array, known: Array, reference: Array, draws: int = 4000) -> tuple[float, float]:
    """The mean gain of drawn losses and its standard error; from random places that they alone beat."""
    rng = np.random.default_rng(0)
    low = np.minimum(known.min(axis=0, initial=0.0), mean - 6 * spread)
    places = rng.uniform(low, reference, (4000, len(reference)))
    volume = float(np.prod(reference - low))
    beaten = (known[None] <= places[:, None]).all(axis=2).any(axis=1)
    losses = rng.normal(mean, spread, (draws, len(reference)))
    gains = np.array([volume * ((loss <= places).all(axis=1) & ~beaten).mean() for loss in losses])
    covered = np.array([((losses <= place).all(axis=1)).mean() for place in places]) * ~beaten * volume
    return float(gains.mean()), float(np.hypot(gains.std() / draws**0.5, covered.std() / len(places) ** 0.5))


def test_one_objective_is_the_closed_form_of_expected_improvement() -> None:
    means, spreads = np.array([[0.3], [1.0], [-2.0]]), np.array([[0.5], [2.0], [0.1]])
    gap = 0.7 - means[:, 0]
    expected = gap * norm.cdf(gap / spreads[:, 0]) + spreads[:, 0] * norm.pdf(gap / spreads[:, 0])
    found = expected_improvement(means, spreads, np.array([[0.9], [0.7], [4.0]]), np.array([5.0]))
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_one_objective_against_drawn_losses() -> None:
    losses = np.random.default_rng(1).normal(1.2, 0.8, 400_000)
    gains = np.maximum(0.5 - losses, 0)
    found = expected_improvement(np.array([[1.2]]), np.array([[0.8]]), np.array([[0.5]]), np.array([9.0]))
    assert found[0] == pytest.approx(gains.mean(), abs=4 * gains.std() / len(gains) ** 0.5)


def test_two_objectives_by_hand() -> None:
    """The front (1, 3), (2, 1) below (4, 4); a sure point gains the area that it alone covers."""
    known, reference = np.array([[1.0, 3.0], [2.0, 1.0], [3.0, 3.5]]), np.array([4.0, 4.0])
    sure = np.array([[1.0, 1.0], [0.0, 0.0], [1.5, 2.0], [3.0, 3.0], [0.5, 3.5], [5.0, 0.5], [2.0, 1.0]])
    gains = [2.0, 16 - 7, 0.5, 0.0, 0.25, 0.0, 0.0]
    found = expected_improvement(sure, np.zeros_like(sure), known, reference)
    np.testing.assert_allclose(found, gains, atol=1e-12)


def test_without_known_points_the_gain_is_the_box_below_the_reference() -> None:
    means, spreads = np.array([[0.0, 1.0]]), np.array([[1.0, 0.5]])
    sides = [
        gap * norm.cdf(gap / s) + s * norm.pdf(gap / s) for gap, s in zip([2.0, 1.5], spreads[0].tolist(), strict=True)
    ]
    for known in (np.zeros((0, 2)), np.array([[2.0, -9.0], [1.0, 9.0], [3.0, 3.0]])):
        found = expected_improvement(means, spreads, known, np.array([2.0, 2.5]))
        assert found[0] == pytest.approx(math.prod(sides), rel=1e-12)


@pytest.mark.parametrize("objectives", [2, 3])
def test_several_objectives_against_counted_places(objectives: int) -> None:
    rng = np.random.default_rng(objectives)
    known, reference = rng.uniform(0, 1, (7, objectives)), np.full(objectives, 1.1)
    known[3] = known[2]
    means, spreads = rng.uniform(0.1, 0.6, (4, objectives)), rng.uniform(0.05, 0.2, (4, objectives))
    found = expected_improvement(means, spreads, known, reference)
    for mean, spread, gain in zip(means, spreads, found, strict=True):
        counted, error = drawn(mean, spread, known, reference, 1500)
        assert gain == pytest.approx(counted, abs=4 * error) and gain > 0


def test_points_on_one_level_count_once() -> None:
    known, reference = np.array([[1.0, 2.0], [1.0, 2.0], [2.0, 2.0]]), np.array([3.0, 3.0])
    found = expected_improvement(np.array([[0.0, 1.0]]), np.zeros((1, 2)), known, reference)
    np.testing.assert_allclose(found, [6.0 - 2.0])


def test_the_reference_is_beyond_the_worst_by_a_tenth_of_the_range() -> None:
    known = np.array([[0.0, 5.0, 3.0], [10.0, 1.0, 3.0], [50.0, 51.0, 3.0]])
    np.testing.assert_allclose(reference_point(known), [55.0, 56.0, 3.1])


def test_the_ends_of_a_front_can_be_extended() -> None:
    """A sure point that is best in one objective and as bad as the worst known in the other gains something."""
    known = np.array([[0.0, 5.0], [1.0, 1.0], [2.0, 9.0]])
    found = expected_improvement(np.array([[-1.0, 9.0]]), np.zeros((1, 2)), known, reference_point(known))
    assert found[0] == pytest.approx(1.0 * 0.8)
