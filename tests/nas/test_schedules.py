from __future__ import annotations

import math
import re
from random import Random

import pytest

from nas import catalog
from nas.schedules import Decided, Verdict
from nas.schedules import make_schedule as make
from nas.settings import SettingsError
from search_spaces.decisions import Real, Struct, changeable
from search_spaces.registry import UnknownName, entries
from search_spaces.space import Space

GO, STOP = Verdict.CONTINUE, Verdict.STOP
TOY = Space("toy", "a rate", Struct(rate=changeable(Real(0.0, 1.0))), lambda architecture, signature: None)  # type: ignore[arg-type,return-value]


class Told:
    """A schedule that is told of trials as they report: each report is one of a trial of its own."""

    def __init__(self, name: str, epochs: int, **options: object) -> None:
        self.schedule = make(name, epochs, TOY, 0, options)
        self._trials = 0

    @property
    def pauses(self) -> frozenset[int]:
        return self.schedule.pauses

    def judge(self, step: int, losses: list[float]) -> Decided:
        self._trials += 1
        self.schedule.began(self._trials, {"rate": 0.5})
        return self.schedule.judge(self._trials, step, losses)


def make_schedule(name: str, epochs: int, **options: object) -> Told:
    return Told(name, epochs, **options)


@pytest.mark.parametrize(
    ("epochs", "rungs"),
    [(1, set()), (2, set()), (3, {1}), (8, {2}), (9, {1, 3}), (27, {1, 3, 9}), (100, {1, 3, 11, 33})],
)
def test_the_rungs_of_asha_are_at_thirds_of_thirds(epochs: int, rungs: set[int]) -> None:
    assert make_schedule("asha", epochs).pauses == rungs


def test_no_schedule_never_pauses() -> None:
    schedule = make_schedule("none", 100)
    assert schedule.pauses == frozenset() and schedule.judge(1, [math.inf]) is GO


def test_asha_for_one_objective_worked_by_hand() -> None:
    schedule = make_schedule("asha", 3)
    # Each trial goes on when fewer than floor(n / 3) of the n that reached the rung, itself included, beat it.
    expected = [
        (0.9, GO),  # n = 1 and 2: too few to judge
        (0.8, GO),
        (0.85, STOP),  # n = 3, 1 may go on: 0.8 beats it
        (0.7, GO),  # n = 4: nothing beats it
        (0.75, STOP),  # n = 5: 0.7 beats it
        (0.75, GO),  # n = 6, 2 may go on: 0.7 alone beats it, its equal does not
        (0.74, GO),  # n = 7: 0.7 alone beats it
        (0.745, STOP),  # n = 8: 0.7 and 0.74 beat it
        (0.745, GO),  # n = 9, 3 may go on: 0.7 and 0.74 beat it
    ]
    assert [schedule.judge(1, [loss]) for loss, _ in expected] == [verdict for _, verdict in expected]


def test_the_rungs_of_asha_are_judged_apart() -> None:
    schedule = make_schedule("asha", 9)
    for loss in (0.1, 0.2, 0.3):
        schedule.judge(1, [loss])
    assert [schedule.judge(3, [loss]) for loss in (0.9, 0.8, 0.7)] == [GO, GO, GO]
    assert schedule.judge(1, [0.4]) is STOP


def test_asha_for_two_objectives_worked_by_hand() -> None:
    schedule = make_schedule("asha", 3)
    expected = [
        ([1.0, 5.0], GO),
        ([5.0, 1.0], GO),
        ([6.0, 6.0], STOP),  # n = 3, 1 may go on: both others dominate it
        ([3.0, 2.0], STOP),  # n = 4: on the front, but between two ends that have infinite room
        ([0.5, 6.0], GO),  # n = 5: an end of the front
        (
            [2.0, 3.0],
            STOP,
        ),  # n = 6, 2 may go on: on the front with (5, 1), (0.5, 6), (1, 5), (3, 2); both ends come first
        ([6.0, 0.5], GO),  # n = 7: an end of the front
    ]
    assert [schedule.judge(1, losses) for losses, _ in expected] == [verdict for _, verdict in expected]


def test_less_crowded_points_of_a_front_come_first() -> None:
    schedule = make_schedule("asha", 3)
    for losses in ([0.0, 10.0], [10.0, 0.0], [1.0, 9.0], [2.0, 8.0], [2.5, 7.5], [9.0, 9.5], [9.0, 9.6], [9.0, 9.7]):
        schedule.judge(1, losses)
    # Of 9, 3 may go on: the two ends, and of the points between them the one with the most room, (5, 5).
    assert schedule.judge(1, [5.0, 5.0]) is GO
    # Of 10, 3 may go on: (2.2, 7.8) has its neighbours at 2 and 2.5, so (5, 5) has more room.
    assert schedule.judge(1, [2.2, 7.8]) is STOP


@pytest.mark.parametrize("bad", [[math.inf, 0.0], [0.0, math.inf], [math.inf, math.inf], [math.inf, -1.0]])
def test_what_is_not_finite_goes_on_before_nothing_that_is(bad: list[float]) -> None:
    for count in range(2, 12):
        schedule = make_schedule("asha", 3)
        for i in range(count):
            schedule.judge(1, [float(i + 1), float(count - i)])
        assert schedule.judge(1, bad) is STOP


def test_an_infinite_loss_among_finite_ones_of_one_objective() -> None:
    schedule = make_schedule("asha", 3)
    assert [schedule.judge(1, [loss]) for loss in (math.inf, math.inf, 0.5, math.inf, 0.9)] == [GO, GO, GO, STOP, STOP]


def test_replayed_verdicts_are_the_same() -> None:
    rng = Random(4)
    reached = [(rng.choice([1, 3, 9]), [rng.random(), rng.choice([1.0, 2.0, math.inf])]) for _ in range(200)]

    def verdicts(schedule: Told) -> list[Decided]:
        return [schedule.judge(step, losses) for step, losses in reached]

    first = verdicts(make_schedule("asha", 27))
    assert verdicts(make_schedule("asha", 27)) == first and 40 < first.count(GO) < 160


def test_about_a_third_goes_on() -> None:
    schedule, rng = make_schedule("asha", 3), Random(8)
    verdicts = [schedule.judge(1, [rng.random()]) for _ in range(600)]
    assert verdicts[100:].count(GO) / 500 == pytest.approx(1 / 3, abs=0.07)


def test_asha_with_another_eta() -> None:
    schedule = make_schedule("asha", 16, eta=2)
    assert schedule.pauses == {8, 4, 2, 1}
    # Each trial goes on when fewer than floor(n / 2) of the n that reached the rung beat it.
    assert [schedule.judge(1, [loss]) for loss in (0.5, 0.6, 0.55, 0.4)] == [GO, STOP, STOP, GO]


def test_an_unknown_schedule_is_named_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="unknown schedule 'ashaa': did you mean asha"):
        make_schedule("ashaa", 8)


@pytest.mark.parametrize("name", entries("schedule"))
def test_every_option_is_there_with_a_default_that_it_allows(name: str) -> None:
    entry = entries("schedule")[name]
    defaults = {each.name: each.default for each in catalog.options(entry)}
    assert make(name, 8, TOY, 0, defaults).pauses == make(name, 8, TOY).pauses


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("none", {"eta": 3}, "schedule 'none' has no option 'eta': it has none"),
        ("asha", {"eat": 3}, "schedule 'asha' has no option 'eat': it has eta"),
        ("asha", {"eta": 1}, "--schedule-option eta is 1, but an integer from 2 to 100 is allowed"),
        ("hyperband", {"eta": 2.5}, "--schedule-option eta is 2.5, but an integer from 2 to 100 is allowed"),
        ("pbt", {"quantile": 0.6}, "--schedule-option quantile is 0.6, but a number from 0.01 to 0.5 is allowed"),
        (
            "pbt",
            {"interval": 8},
            "--schedule-option interval is 8, which leaves no pause within 8 epochs: choose one from 1 to 7",
        ),
        ("pb2", {"resample": 0.1}, "schedule 'pb2' has no option 'resample': it has interval, quantile"),
        (
            "median_stop",
            {"grace": 8},
            "--schedule-option grace is 8, but trials of 8 epochs are judged after epochs 1 to 7: "
            "choose a smaller grace or more --epochs",
        ),
    ],
)
def test_a_wrong_option_is_refused_in_a_line(name: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(SettingsError, match=f"^{re.escape(message)}$"):
        make(name, 8, TOY, 0, options)


@pytest.mark.parametrize("name", ["pbt", "pb2"])
def test_a_space_or_a_training_in_which_nothing_can_change_is_refused(name: str) -> None:
    rigid = Space("rigid", "a rate", Struct(rate=Real(0.0, 1.0)), TOY.make)
    with pytest.raises(SettingsError, match=f"--schedule {name} .* space 'rigid' marks none .* such as asha$"):
        make(name, 8, rigid)
    with pytest.raises(SettingsError, match=r"no pause within 1 epochs: choose --epochs 2 or more$"):
        make(name, 1, TOY)
