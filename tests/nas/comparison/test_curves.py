"""What simulated searches had found by when, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nas.comparison.curves import incumbent, reached, summarise, volume
from nas.objectives import objective
from nas.simulation import Simulated
from nas.store import State

ACCURACY, PARAMS = objective("accuracy"), objective("params")


def trial(
    number: int, accuracy: float, test: float, clock: float, params: float = 1, state: str = "COMPLETED"
) -> Simulated:
    values = {"accuracy": accuracy, "params": params}
    return Simulated(number, {"n": number}, State(state), values, {"test_accuracy": test}, clock)


def test_the_incumbent_is_selected_by_validation_and_shown_by_test() -> None:
    trials = [trial(0, 90, 85, 1), trial(1, 80, 99, 2), trial(2, 92, 84, 3), trial(3, 91, 95, 4)]
    assert incumbent(trials, ACCURACY, "test_accuracy").tolist() == [85, 85, 84, 84]


def test_trials_count_in_the_order_in_which_they_ended_and_failed_ones_too() -> None:
    trials = [trial(0, 90, 85, 9), trial(1, 80, 70, 2), trial(2, 99, 99, 1, state="FAILED")]
    curve = incumbent(trials, ACCURACY, "test_accuracy")
    assert math.isnan(curve[0]) and curve[1:].tolist() == [70, 85]


def test_the_hypervolume_of_a_front_by_hand() -> None:
    """Losses scaled to the box: (0.5, 0), then (0, 0.5), then one that the first dominates."""
    bounds = [(-100.0, -80.0), (0.0, 10.0)]
    trials = [trial(0, 90, 0, 1, params=0), trial(1, 100, 0, 2, params=5), trial(2, 85, 0, 3, params=5)]
    assert volume(trials, [ACCURACY, PARAMS], None, bounds).tolist() == pytest.approx([0.5, 0.75, 0.75])


def test_the_front_is_selected_by_validation_and_measured_by_test() -> None:
    bounds = [(-100.0, -80.0), (0.0, 10.0)]
    trials = [trial(0, 90, 95, 1, params=5), trial(1, 80, 100, 2, params=5)]
    assert volume(trials, [ACCURACY, PARAMS], "test_accuracy", bounds).tolist() == pytest.approx([0.375, 0.375])


def test_a_summary_has_the_interval_of_the_mean() -> None:
    curves = [np.array(each, dtype=float) for each in ([1, 2, 3], [2, 4], [6, 6, 9])]
    summary = summarise(curves)
    assert summary.mean.tolist() == pytest.approx([3, 4, 16 / 3])
    expected = stats.norm.interval(0.95, loc=3, scale=stats.sem([1, 2, 6]))
    assert summary.mean[0] + summary.interval[0] == pytest.approx(expected[1], abs=1e-4)
    assert summary.low[0] == pytest.approx(1.2) and summary.high[0] == pytest.approx(5.2)


def test_one_seed_has_no_interval() -> None:
    assert math.isnan(summarise([np.array([1.0, 2.0])]).interval[0])


def test_when_a_target_was_reached() -> None:
    curves = [np.array([1.0, 5, 6]), np.array([5.0, 5, 5]), np.array([1.0, 1, 1])]
    clocks = [[10.0, 20, 30], [11.0, 21, 31], [12.0, 22, 32]]
    found = reached(curves, clocks, 5, maximize=True)
    assert (found.share, found.trials, found.seconds) == (pytest.approx(2 / 3), 2, 20)
    assert reached(curves, clocks, 7, maximize=True).trials == math.inf
    assert reached(curves, clocks, 1, maximize=False).trials == 1
