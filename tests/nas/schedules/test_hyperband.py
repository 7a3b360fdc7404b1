"""Hyperband: the brackets of the paper, a case worked by hand, and brackets that are not full."""

from __future__ import annotations

import math
from typing import cast

import pytest
from miniature import TINY

from nas.schedules import Decided, Schedule, Verdict, make_schedule
from nas.schedules.hyperband import Hyperband

GO, STOP, PAUSE = Verdict.CONTINUE, Verdict.STOP, Verdict.PAUSE


def hyperband(epochs: int, eta: int = 3) -> Schedule:
    return make_schedule("hyperband", epochs, TINY, 0, {"eta": eta})


def begin(schedule: Schedule, *trials: int) -> None:
    for trial in trials:
        schedule.began(trial, {})


def judged(schedule: Schedule, step: int, losses: dict[int, float]) -> list[Decided]:
    return [schedule.judge(trial, step, [loss]) for trial, loss in losses.items()]


@pytest.mark.parametrize(
    ("epochs", "eta", "sizes", "lowest"),
    [
        # Li et al., 2018, section 3: R = 81, eta = 3 gives brackets of 81, 34, 15, 8 and 5 from 1, 3, 9, 27, 81 epochs.
        (81, 3, [81, 34, 15, 8, 5, 81], [1, 3, 9, 27, None, 1]),
        # R = 27: s_max = 3, and ceil(4/4 * 27), ceil(4/3 * 9), ceil(4/2 * 3), ceil(4/1 * 1).
        (27, 3, [27, 12, 6, 4, 27], [1, 3, 9, None, 1]),
        # R = 8, eta = 2: 8 from 1; ceil(4/3 * 4) = 6 from 2; ceil(4/2 * 2) = 4 from 4; 4 in full.
        (8, 2, [8, 6, 4, 4, 8], [1, 2, 4, None, 1]),
        # R = 2 < eta: s_max = 0, one trial a bracket, in full.
        (2, 3, [1, 1], [None, None]),
    ],
)
def test_the_brackets_are_those_of_the_paper(epochs: int, eta: int, sizes: list[int], lowest: list[int | None]) -> None:
    schedule = cast(Hyperband, hyperband(epochs, eta))
    trial, found = 0, []
    for _ in sizes:
        begin(schedule, trial)
        bracket = schedule._bracket
        found.append((bracket.size, bracket.rungs[0] if bracket.rungs else None))
        begin(schedule, *range(trial + 1, trial + bracket.size))
        trial += bracket.size
        assert bracket.final
    assert found == list(zip(sizes, lowest, strict=True))


@pytest.mark.parametrize(
    ("epochs", "eta", "pauses"), [(81, 3, {1, 3, 9, 27}), (100, 3, {33, 11, 3, 1}), (8, 2, {1, 2, 4}), (2, 3, set())]
)
def test_it_pauses_at_all_rungs_of_the_longest_bracket(epochs: int, eta: int, pauses: set[int]) -> None:
    assert hyperband(epochs, eta).pauses == pauses


def test_a_case_worked_by_hand() -> None:
    """R = 9, eta = 3: nine trials with rungs at 1 and 3, five with one at 3, three without; then nine again."""
    schedule = hyperband(9)
    begin(schedule, *range(17))
    first = {0: 0.9, 1: 0.1, 2: 0.8, 3: 0.2, 4: 0.7, 5: 0.3, 6: 0.6, 7: 0.4, 8: 0.5}
    assert judged(schedule, 1, dict(list(first.items())[:8])) == [PAUSE] * 8
    assert schedule.released() == []
    assert judged(schedule, 1, {8: 0.5}) == [PAUSE]
    # Of nine the best three go on: 1, 3 and 5 with 0.1, 0.2 and 0.3.
    released = dict(schedule.released())
    assert {trial for trial, each in released.items() if each is GO} == {1, 3, 5}
    assert {trial for trial, each in released.items() if each is STOP} == {0, 2, 4, 6, 7, 8}
    # Of those three the best one.
    assert judged(schedule, 3, {1: 0.30, 3: 0.25, 5: 0.28}) == [PAUSE] * 3
    assert schedule.released() == [(3, GO), (5, STOP), (1, STOP)]

    # The second bracket, trials 9 to 13, has no rung at 1; at 3 the best floor(5/3) = 1 goes on.
    assert judged(schedule, 1, dict.fromkeys(range(9, 14), 0.5)) == [GO] * 5
    assert judged(schedule, 3, {9: 0.4, 10: 0.2, 11: 0.3, 12: 0.1, 13: 0.5}) == [PAUSE] * 5
    assert schedule.released() == [(12, GO), (10, STOP), (11, STOP), (9, STOP), (13, STOP)]

    # The third trains in full.
    assert judged(schedule, 1, {14: 9.0}) + judged(schedule, 3, {14: 9.0, 15: 9.0, 16: 9.0}) == [GO] * 4
    # The fourth is the first anew.
    begin(schedule, 17)
    assert judged(schedule, 1, {17: 0.0}) == [PAUSE]


def test_what_ended_by_itself_counts_among_the_worst() -> None:
    """Nine trials, of which four fail: a third of nine goes on, not of five."""
    schedule = hyperband(9)
    begin(schedule, *range(9))
    judged(schedule, 1, {trial: trial / 10 for trial in range(5)})
    for trial in (5, 6, 7):
        schedule.ended(trial)
    assert schedule.released() == []
    schedule.ended(8)
    assert schedule.released() == [(0, GO), (1, GO), (2, GO), (3, STOP), (4, STOP)]
    # The winner of the next rung is the best of those that are left, even when it is the only one.
    judged(schedule, 3, {2: 0.9})
    schedule.ended(0)
    schedule.ended(1)
    assert schedule.released() == [(2, GO)]


def test_a_trial_that_ends_while_it_waits_is_out() -> None:
    schedule = hyperband(9)
    begin(schedule, *range(9))
    judged(schedule, 1, {trial: trial / 10 for trial in range(8)})
    schedule.ended(0)
    judged(schedule, 1, {8: 0.8})
    assert [trial for trial, each in schedule.released() if each is GO] == [1, 2, 3]


def test_closing_halves_a_bracket_that_is_not_full_and_later_trials_begin_the_next() -> None:
    schedule = hyperband(9)
    begin(schedule, 0, 1)
    judged(schedule, 1, {0: 0.2, 1: 0.1})
    assert schedule.released() == []
    schedule.closing()
    # floor(2/3) = 0, but one goes on at least.
    assert schedule.released() == [(1, GO), (0, STOP)]
    judged(schedule, 3, {1: 0.1})
    assert schedule.released() == [(1, GO)]
    begin(schedule, 2)
    assert judged(schedule, 1, {2: 0.5}) == [GO]
    assert judged(schedule, 3, {2: 0.5}) == [PAUSE]


def test_what_is_not_finite_goes_on_before_nothing_that_is() -> None:
    schedule = hyperband(9)
    begin(schedule, *range(9))
    losses = [math.nan, -math.inf, math.inf, 0.9, 0.8, 0.7, 0.6, math.nan, math.inf]
    judged(schedule, 1, dict(enumerate(losses)))
    assert [trial for trial, each in schedule.released() if each is GO] == [6, 5, 4]


def test_with_two_objectives_the_front_goes_on_its_ends_first() -> None:
    schedule = hyperband(9)
    begin(schedule, *range(9))
    points = [
        [1.0, 9.0],
        [9.0, 1.0],
        [5.0, 5.0],
        [4.9, 5.2],
        [9.0, 9.0],
        [8.0, 8.0],
        [7.0, 7.0],
        [9.5, 9.5],
        [6.0, 6.0],
    ]
    for trial, point in enumerate(points):
        schedule.judge(trial, 1, point)
    # The front is 0, 1, 2 and 3. Between the ends, 2 has its neighbours at 4.9 and 9, 3 at 1 and 5: both span 8.2 of
    # 16, so the first that began is third.
    assert [trial for trial, each in schedule.released() if each is GO][:2] == [0, 1]
