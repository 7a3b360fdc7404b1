"""The median stopping rule: cases worked by hand."""

from __future__ import annotations

import math
import statistics
from random import Random

import pytest
from miniature import TINY

from nas.schedules import Schedule, Verdict, make_schedule

GO, STOP = Verdict.CONTINUE, Verdict.STOP


def median_stop(epochs: int = 9, **options: int) -> Schedule:
    return make_schedule("median_stop", epochs, TINY, 0, options)


def test_it_looks_after_every_epoch_but_the_last() -> None:
    assert median_stop(5).pauses == {1, 2, 3, 4}
    assert median_stop(1).pauses == set()


def test_a_case_worked_by_hand() -> None:
    schedule = median_stop(least=3)
    for trial, curve in enumerate(([1.0, 0.5], [0.75, 0.25], [0.5, 0.75])):
        for step, loss in enumerate(curve, 1):
            # Fewer than three others have come as far.
            assert schedule.judge(trial, step, [loss]) is GO
    # The others' means over one epoch are 1, 0.75 and 0.5: the median is 0.75, and only what is above it stops.
    assert schedule.judge(3, 1, [0.75]) is GO
    # Over one epoch: 1, 0.75, 0.75, 0.5, with the same median.
    assert schedule.judge(4, 1, [0.78125]) is STOP
    # Over two epochs the three have the means 0.75, 0.5 and 0.625: the best of 0.75 and 0.625 is not worse.
    assert schedule.judge(3, 2, [0.625]) is GO
    # Trial 5 passes the first epoch, where the others have 1, 0.78125, 0.75, 0.75 and 0.5.
    assert schedule.judge(5, 1, [0.6875]) is GO
    # Over two: 0.75, 0.5, 0.625 and (0.75 + 0.625) / 2 = 0.6875, with the median 0.65625; its best is 0.6875.
    assert schedule.judge(5, 2, [0.8]) is STOP


def test_the_best_so_far_is_what_counts_not_the_last() -> None:
    schedule = median_stop(least=3)
    for trial in range(3):
        schedule.judge(trial, 1, [0.5])
        schedule.judge(trial, 2, [0.5])
    schedule.judge(3, 1, [0.1])
    assert schedule.judge(3, 2, [9.0]) is GO


def test_nobody_is_stopped_in_the_grace_or_before_there_are_others() -> None:
    schedule = median_stop(grace=3, least=2)
    for trial in range(4):
        verdicts = [schedule.judge(trial, step, [float(trial)]) for step in (1, 2, 3)]
        # At epoch 3 trial 2 has two others, of means 0 and 1.
        assert verdicts == [GO, GO, STOP if trial > 1 else GO]


def test_what_is_not_finite_is_worse_than_all_that_is() -> None:
    schedule = median_stop(least=1)
    assert [schedule.judge(trial, 1, [0.5]) for trial in range(3)] == [GO] * 3
    for trial, odd in enumerate((math.nan, math.inf, -math.inf), 3):
        assert schedule.judge(trial, 1, [odd]) is STOP
    # The median of three finite means and three infinite ones is infinite: nothing is worse.
    assert schedule.judge(6, 1, [100.0]) is GO
    # With 100 among them it is 100.
    assert schedule.judge(7, 1, [101.0]) is STOP


def test_two_objectives_worked_by_hand() -> None:
    schedule = median_stop(least=4)
    for trial, point in enumerate(([1.0, 4.0], [4.0, 1.0], [5.0, 5.0], [6.0, 6.0])):
        assert schedule.judge(trial, 1, point) is GO
    # 0 and 1 are the front; with (4.5, 4.5) they are all that is before (5, 5): two of the four others, not more.
    assert schedule.judge(4, 1, [4.5, 4.5]) is GO
    # Four of the five others are before (5.5, 5.5).
    assert schedule.judge(5, 1, [5.5, 5.5]) is STOP
    assert schedule.judge(6, 1, [2.0, 2.0]) is GO
    assert schedule.judge(7, 1, [math.nan, 0.0]) is STOP


def test_more_than_half_of_the_others_must_be_better() -> None:
    schedule = median_stop(least=5)
    for trial in range(5):
        schedule.judge(trial, 1, [float(trial)] * 2)
    # Three of five, then two of six, then three of seven.
    assert [schedule.judge(5 + i, 1, [loss] * 2) for i, loss in enumerate((2.5, 1.5, 1.75))] == [STOP, GO, GO]


def test_two_objectives_are_compared_by_their_means_so_far() -> None:
    schedule = median_stop(least=3)
    for trial, (first, second) in enumerate(((1.0, 9.0), (2.0, 8.0), (3.0, 7.0))):
        schedule.judge(trial, 1, [first, first])
        schedule.judge(trial, 2, [second, second])
    schedule.judge(3, 1, [1.0, 1.0])
    # Means 5, 5, 5 and now (1 + 8) / 2 = 4.5: the best of all, though its last value is not.
    assert schedule.judge(3, 2, [8.0, 8.0]) is GO
    schedule.judge(4, 1, [1.0, 1.0])
    assert schedule.judge(4, 2, [9.1, 9.1]) is STOP


@pytest.mark.parametrize("seed", range(5))
def test_of_one_objective_it_agrees_with_the_definition(seed: int) -> None:
    """Against the sentence of the paper, written out over whole curves, for trials that come in any order."""
    rng = Random(seed)
    schedule = median_stop(6, least=2)
    curves: dict[int, list[float]] = {trial: [] for trial in range(12)}
    stopped: set[int] = set()
    while alive := [trial for trial in curves if trial not in stopped and len(curves[trial]) < 5]:
        trial = rng.choice(alive)
        curves[trial].append(rng.random())
        step = len(curves[trial])
        others = [curve[:step] for other, curve in curves.items() if other != trial and len(curve) >= step]
        worse = len(others) >= 2 and min(curves[trial]) > statistics.median(statistics.fmean(each) for each in others)
        assert (schedule.judge(trial, step, [curves[trial][-1]]) is STOP) is worse
        stopped |= {trial} if worse else set()
    assert 3 < len(stopped) < 12
