"""What holds for every schedule, whatever the order in which trials begin, arrive and fail."""

from __future__ import annotations

import math
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from miniature import TINY, Study, noisy, replayed

from nas.schedules import Fork, Schedule, Verdict, make_schedule
from nas.schedules.immediate import Immediate
from search_spaces.registry import entries

OPTIONS: dict[str, dict[str, Any]] = {
    "none": {},
    "asha": {"eta": 2},
    "hyperband": {"eta": 2},
    "median_stop": {"least": 2},
    "pbt": {"interval": 2},
    "pb2": {"interval": 2},
}
EPOCHS = 7


def test_every_schedule_is_held_to_the_contract() -> None:
    assert set(OPTIONS) == set(entries("schedule"))


def schedule(name: str, seed: int = 0) -> Schedule:
    return make_schedule(name, EPOCHS, TINY, seed, OPTIONS[name])


def study(name: str, seed: int, trials: list[int], failing: float, objectives: int, odd: float) -> Study:
    made = Study(schedule(name), EPOCHS, noisy(seed, objectives, odd), Random(seed), failing)
    for count in trials:
        made.run(count)
    return made


STUDIES = st.tuples(
    st.integers(0, 10**6),
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.sampled_from([0.0, 0.05, 0.3]),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.2]),
)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=25, deadline=None)
@given(STUDIES)
def test_no_paused_trial_is_forgotten(name: str, asked: tuple[int, list[int], float, int, float]) -> None:
    run = study(name, *asked)
    assert {each.state for each in run.trials.values()} <= {"completed", "failed", "stopped"}
    assert len(run.trials) == sum(asked[1]) + len(run.forks)
    assert all(0 < pause < EPOCHS for pause in run.schedule.pauses)


@pytest.mark.parametrize("name", OPTIONS)
@settings(max_examples=10, deadline=None)
@given(STUDIES)
def test_the_same_calls_give_the_same_verdicts(name: str, asked: tuple[int, list[int], float, int, float]) -> None:
    run = study(name, *asked)
    assert replayed(schedule(name), run.calls) == (run.answers, run.told)


@pytest.mark.parametrize("name", ["pbt", "pb2"])
@settings(max_examples=15, deadline=None)
@given(STUDIES)
def test_a_fork_goes_on_from_a_sound_checkpoint_with_what_may_change(
    name: str, asked: tuple[int, list[int], float, int, float]
) -> None:
    run = study(name, *asked)
    for number, (replaced, fork) in run.forks.items():
        source = run.trials[fork.source]
        assert fork.source not in (number, replaced)
        assert fork.step <= source.step
        assert fork.step in run.schedule.pauses
        assert all(map(math.isfinite, run.losses(fork.source, fork.step, source.architecture)))
        before, after = TINY.trace(source.architecture), TINY.trace(fork.architecture)
        for path in ("network.width", "training.optimizer", "training.warmup"):
            assert before[path] == after[path]


@pytest.mark.parametrize("name", ["hyperband", "pbt", "pb2"])
def test_trials_that_wait_for_each_other_are_told_when_the_last_one_arrives(name: str) -> None:
    made = schedule(name)
    for number in range(4):
        made.began(number, TINY.draw(Random(number)))
    (step, *_) = sorted(made.pauses)
    made.closing()
    for number in range(4):
        assert made.released() == []
        assert made.judge(number, step, [float(number)]) is Verdict.PAUSE
    assert sorted(number for number, _ in made.released()) == [0, 1, 2, 3]
    assert made.released() == []


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_another_seed_forks_otherwise(name: str) -> None:
    forked = []
    for seed in (0, 1):
        run = Study(schedule(name, seed), EPOCHS, noisy(3), Random(3))
        run.run(8)
        forked.append([decided for _, decided in run.told if isinstance(decided, Fork)])
    assert forked[0] and forked[0] != forked[1]


@pytest.mark.parametrize("name", ["asha", "median_stop", "none"])
@settings(max_examples=25, deadline=None)
@given(STUDIES, st.data())
def test_after_verdicts_that_are_known_the_next_ones_are_the_same(
    name: str, asked: tuple[int, list[int], float, int, float], data: st.DataObject
) -> None:
    run, again = study(name, *asked), schedule(name)
    assert isinstance(again, Immediate)
    known = data.draw(st.integers(0, len(run.calls)))
    for called, arguments in run.calls[:known]:
        (again.note if called == "judge" else getattr(again, called))(*arguments)
    judged = sum(called == "judge" for called, _ in run.calls[:known])
    assert replayed(again, run.calls[known:])[0] == run.answers[judged:]
