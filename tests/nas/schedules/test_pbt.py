"""Population based training: a case worked by hand, and who belongs to a population."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from miniature import TINY, Study, noisy

from nas.schedules import Decided, Fork, Schedule, Verdict, make_schedule
from nas.schedules.generations import Generation, Generations
from search_spaces.decisions import Architecture, Integer, Real, Struct, changeable
from search_spaces.space import Space

GO, PAUSE = Verdict.CONTINUE, Verdict.PAUSE
SPACE = Space(
    "rates",
    "a rate",
    Struct(width=Integer(1, 100), rate=changeable(Real(1e-4, 1.0, log=True))),
    TINY.make,
)


def pbt(epochs: int = 6, seed: int = 0, **options: Any) -> Schedule:
    return make_schedule("pbt", epochs, SPACE, seed, {"interval": 2, "resample": 0.0} | options)


def begin(schedule: Schedule, **rates: float) -> None:
    for trial, rate in rates.items():
        schedule.began(int(trial[1:]), {"width": int(trial[1:]) + 1, "rate": rate})


def arrive(schedule: Schedule, step: int, *losses: float, first: int = 0) -> None:
    for trial, loss in enumerate(losses, first):
        assert schedule.judge(trial, step, [loss]) is PAUSE


def forks(released: list[tuple[int, Decided]]) -> dict[int, Fork]:
    return {trial: each for trial, each in released if isinstance(each, Fork)}


def rate_of(architecture: Any) -> float:
    """The rate of either optimizer of the tiny space."""
    (options,) = architecture["training"]["optimizer"].values()
    rate: float = options["rate"]
    return rate


def test_it_pauses_every_interval_below_the_last_epoch() -> None:
    assert pbt(6).pauses == {2, 4}
    assert pbt(7).pauses == {2, 4, 6}
    assert pbt(8, interval=3).pauses == {3, 6}
    assert pbt().retains


def test_a_case_worked_by_hand() -> None:
    """Four members, a quarter of which is one: the worst takes the weights of the best, at epochs 2 and 4."""
    schedule = pbt(6)
    begin(schedule, t0=0.1, t1=0.01, t2=0.02, t3=0.5)
    schedule.closing()
    arrive(schedule, 2, 0.1, 0.4, 0.2)
    assert schedule.released() == []
    arrive(schedule, 2, 0.3, first=3)
    released = schedule.released()
    fork = forks(released)[1]
    assert released == [(0, GO), (1, fork), (2, GO), (3, GO)]
    # From trial 0, the best with 0.1, after 2 epochs: its width, and its rate 0.1 times 0.8 or 1.2.
    assert (fork.source, fork.step, fork.architecture["width"]) == (0, 2, 1)
    assert min(abs(fork.architecture["rate"] - each) for each in (0.08, 0.12)) < 1e-12

    # Trial 4 takes the place of trial 1, and the others wait for it.
    schedule.began(4, fork.architecture, fork, 1)
    for trial, loss in ((0, 0.5), (2, 0.05), (3, 0.3)):
        assert schedule.judge(trial, 4, [loss]) is PAUSE
    assert schedule.released() == []
    assert schedule.judge(4, 4, [0.2]) is PAUSE
    released = schedule.released()
    fork = forks(released)[0]
    assert released == [(0, fork), (2, GO), (3, GO), (4, GO)]
    assert (fork.source, fork.step, fork.architecture["width"]) == (2, 4, 3)
    assert min(abs(fork.architecture["rate"] - each) for each in (0.016, 0.024)) < 1e-12


@pytest.mark.parametrize(
    ("members", "quantile", "replaced"),
    [(1, 0.5, 0), (2, 0.25, 1), (3, 0.5, 1), (4, 0.5, 2), (8, 0.25, 2), (9, 0.25, 2), (10, 0.3, 3), (100, 0.29, 29)],
)
def test_how_many_are_replaced(members: int, quantile: float, replaced: int) -> None:
    schedule = pbt(quantile=quantile)
    begin(schedule, **{f"t{trial}": 0.1 for trial in range(members)})
    schedule.closing()
    arrive(schedule, 2, *(float(trial) for trial in range(members)))
    released = schedule.released()
    assert len(released) == members
    assert set(forks(released)) == set(range(members - replaced, members))
    assert {each.source for each in forks(released).values()} <= set(range(replaced))


def test_every_one_of_the_best_is_a_source_in_time() -> None:
    sources = []
    for seed in range(40):
        schedule = pbt(seed=seed)
        begin(schedule, **{f"t{trial}": 0.1 for trial in range(8)})
        schedule.closing()
        arrive(schedule, 2, *(float(trial) for trial in range(8)))
        sources += [fork.source for fork in forks(schedule.released()).values()]
    assert len(sources) == 80
    assert sources.count(0) == pytest.approx(40, abs=18)


def test_nobody_is_judged_before_the_population_is_complete() -> None:
    schedule = pbt()
    begin(schedule, t0=0.1, t1=0.1)
    arrive(schedule, 2, 0.1, 0.2)
    assert schedule.released() == []
    begin(schedule, t2=0.1)
    schedule.closing()
    assert schedule.released() == []
    arrive(schedule, 2, 0.3, first=2)
    assert [trial for trial, _ in schedule.released()] == [0, 1, 2]


def test_those_that_begin_after_closing_are_a_population_of_their_own() -> None:
    schedule = pbt()
    begin(schedule, t0=0.1, t1=0.1)
    schedule.closing()
    begin(schedule, t2=0.1, t3=0.1)
    arrive(schedule, 2, 0.9, 0.8)
    assert {trial: each.source for trial, each in forks(schedule.released()).items()} == {0: 1}
    arrive(schedule, 2, 0.1, 0.2, first=2)
    assert schedule.released() == []
    schedule.closing()
    assert {trial: each.source for trial, each in forks(schedule.released()).items()} == {3: 2}


def test_who_ends_leaves_the_population() -> None:
    schedule = pbt()
    begin(schedule, t0=0.1, t1=0.1, t2=0.1, t3=0.1)
    schedule.closing()
    arrive(schedule, 2, 0.1, 0.2, 0.9)
    schedule.ended(2)
    schedule.ended(3)
    released = schedule.released()
    # Of the two that are left the worse one takes the weights of the better one.
    assert [trial for trial, _ in released] == [0, 1]
    assert {trial: each.source for trial, each in forks(released).items()} == {1: 0}
    # A fork that never begins is not waited for once its place is given up.
    schedule.judge(0, 4, [0.1])
    assert schedule.released() == []
    schedule.ended(1)
    assert schedule.released() == [(0, GO)]


def test_weights_are_never_taken_from_a_trial_that_is_not_finite() -> None:
    schedule = pbt(quantile=0.5)
    begin(schedule, **{f"t{trial}": 0.1 for trial in range(4)})
    schedule.closing()
    arrive(schedule, 2, math.nan, math.inf, -math.inf, 0.5)
    # Of the best two only trial 3 is finite; of the worst two, equal but for their order, 1 and 2 are replaced.
    assert {trial: each.source for trial, each in forks(schedule.released()).items()} == {1: 3, 2: 3}
    begin_all = pbt()
    begin(begin_all, t0=0.1, t1=0.1)
    begin_all.closing()
    arrive(begin_all, 2, math.nan, math.inf)
    assert begin_all.released() == [(0, GO), (1, GO)]


def test_with_two_objectives_the_front_is_the_best() -> None:
    schedule = pbt()
    begin(schedule, **{f"t{trial}": 0.1 for trial in range(4)})
    schedule.closing()
    for trial, point in enumerate(([3.0, 3.0], [1.0, 9.0], [2.0, 2.0], [4.0, 4.0])):
        schedule.judge(trial, 2, point)
    # The front is 1 and 2, both its ends; the first that began is the best of them. (4, 4) is behind (3, 3).
    assert {trial: each.source for trial, each in forks(schedule.released()).items()} == {3: 1}


class Recorder:
    """Explores nothing, and notes what it sees."""

    def __init__(self) -> None:
        self.seen: list[Generation] = []

    def explore(self, generation: Generation) -> list[Architecture]:
        self.seen.append(generation)
        return [exploit.source.architecture for exploit in generation.exploits]


def test_a_member_is_seen_with_its_objectives_at_the_pause_before_a_fork_with_those_of_its_source() -> None:
    recorder = Recorder()
    schedule = Generations(4, 0, 1, 0.25, recorder)
    begin(schedule, t0=0.1, t1=0.1, t2=0.1, t3=0.1)
    schedule.closing()
    arrive(schedule, 1, 0.1, 0.2, 0.3, 0.4)
    fork = forks(schedule.released())[3]
    schedule.began(4, fork.architecture, fork, 3)
    for step, losses in ((2, {0: 0.01, 1: 0.02, 2: 0.03, 4: 0.005}), (3, {0: 1.0, 1: 2.0, 4: 3.0})):
        for trial, loss in losses.items():
            schedule.judge(trial, step, [loss])
        if step == 2:
            # Trial 2 is the worst one; its fork never begins.
            assert set(forks(schedule.released())) == {2}
            schedule.ended(2)
    seen = [{each.trial: each.before for each in generation.members} for generation in recorder.seen]
    assert seen[0] == dict.fromkeys(range(4))
    assert seen[1] == {0: (0.1,), 1: (0.2,), 2: (0.3,), 4: (0.1,)}
    assert seen[2] == {0: (0.01,), 1: (0.02,), 4: (0.005,)}
    assert [each.trial for each in recorder.seen[1].members] == [4, 0, 1, 2]
    assert [generation.step for generation in recorder.seen] == [1, 2, 3]


def test_the_order_of_arrival_makes_no_difference() -> None:
    found = []
    for order in ([0, 1, 2, 3, 4, 5, 6, 7], [5, 3, 7, 0, 2, 6, 1, 4]):
        schedule = pbt()
        begin(schedule, **{f"t{trial}": 0.1 + trial / 100 for trial in range(8)})
        schedule.closing()
        for trial in order:
            schedule.judge(trial, 2, [(trial * 5 % 8) / 8])
        found.append(schedule.released())
    assert found[0] == found[1] and len(forks(found[0])) == 2


def test_a_population_that_keeps_the_better_half_learns_a_rate() -> None:
    """The rate 0.03 gains most; twelve generations of exploiting and exploring move the population there."""
    best = math.log(0.03)
    reached: dict[tuple[int, int], float] = {}

    def losses(number: int, step: int, architecture: Any) -> list[float]:
        fork = run.forks[number][1] if number in run.forks else None
        inherited = reached[fork.source, fork.step] if fork else 0.0
        before = reached.get((number, step - 1), inherited)
        reached[number, step] = before - 1 / (1 + (math.log(rate_of(architecture)) - best) ** 2)
        return [reached[number, step]]

    schedule = make_schedule("pbt", 13, TINY, 0, {"quantile": 0.5})
    run = Study(schedule, 13, losses, Random(1))
    run.run(8)
    rates = [rate_of(each.architecture) for each in run.trials.values() if each.state == "completed"]
    assert len(rates) == 8
    assert sorted(rates)[2] > 0.01 and sorted(rates)[5] < 0.09


def test_a_population_keeps_its_size() -> None:
    run = Study(make_schedule("pbt", 6, TINY), 6, noisy(0), Random(0))
    run.run(8)
    # Two of eight are replaced after each of the epochs 1 to 5.
    assert len(run.forks) == 10
    assert sum(each.state == "completed" for each in run.trials.values()) == 8
