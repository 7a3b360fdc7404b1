"""Population based bandits: what is learned, where forks go, and a toy whose best rate drifts."""

from __future__ import annotations

import math
import statistics
from random import Random
from typing import Any

import pytest
from miniature import TINY

from nas.schedules import Decided, Fork, Schedule, drift, make_schedule
from nas.schedules.generations import Member
from nas.schedules.improvement import improvements
from search_spaces.decisions import Choice, Real, Struct, changeable
from search_spaces.space import Space

SPACE = Space(
    "rates",
    "two rates",
    Struct(rate=changeable(Real(1e-4, 1.0, log=True)), other=changeable(Real(0.0, 1.0)), fixed=Real(0.0, 1.0)),
    TINY.make,
)


def member(losses: list[float], before: list[float] | None) -> Member:
    return Member(0, {}, tuple(losses), None if before is None else tuple(before))


def place(rate: float) -> float:
    """Where a rate lies in its domain, from 0 to 1."""
    return math.log(rate / 1e-4) / math.log(1e4)


def forks(released: list[tuple[int, Decided]]) -> dict[int, Fork]:
    return {trial: each for trial, each in released if isinstance(each, Fork)}


def test_an_improvement_is_how_much_the_loss_fell_standardised() -> None:
    # It fell by 4, 2 and 0: mean 2, variance 8/3.
    found = improvements([member([1.0], [5.0]), member([3.0], [5.0]), member([2.0], [2.0])])
    assert found == pytest.approx([math.sqrt(1.5), 0.0, -math.sqrt(1.5)])


def test_at_the_first_pause_all_count_as_equal_before() -> None:
    found = improvements([member([1.0], None), member([2.0], None)])
    assert found == pytest.approx([1.0, -1.0])


def test_improvements_that_do_not_differ_tell_nothing_and_far_ones_are_cut_off() -> None:
    assert improvements([]) == []
    assert improvements([member([2.0], [3.0]), member([1.0], [2.0])]) == [0.0, 0.0]
    many = improvements([member([0.0], [0.0])] * 30 + [member([0.0], [100.0])])
    assert many[-1] == 2.0


def test_of_several_objectives_the_mean_rank_improves() -> None:
    members = [
        member([1.0, 5.0], [3.0, 5.0]),
        member([2.0, 5.0], [2.0, 5.0]),
        member([3.0, 4.0], [1.0, 6.0]),
    ]
    # Ranks before, from 1/2 on and shared by equals: first 2.5, 1.5, 0.5; second 1, 1, 2.5; means 1.75, 1.25, 1.5.
    # Ranks now: first 0.5, 1.5, 2.5; second 2, 2, 0.5; means 1.25, 1.75, 1.5. They fell by 0.5, -0.5 and 0.
    assert improvements(members) == pytest.approx([math.sqrt(1.5), -math.sqrt(1.5), 0.0])


def population(schedule: Schedule, rates: list[float]) -> None:
    for trial, rate in enumerate(rates):
        schedule.began(trial, {"rate": rate, "other": 0.5, "fixed": trial / 100})
    schedule.closing()


def test_forks_go_where_the_most_was_gained_and_apart_from_each_other() -> None:
    schedule = make_schedule("pb2", 10, SPACE, 0, {"quantile": 0.4})
    rates = [1e-4 * 10 ** (4 * trial / 9) for trial in range(10)]
    population(schedule, rates)
    for trial in range(10):
        # Best at 7/9 of the domain.
        schedule.judge(trial, 1, [abs(trial - 7) / 9])
    found = forks(schedule.released())
    assert set(found) == {0, 1, 2, 3}
    places = sorted((place(each.architecture["rate"]), each.architecture["other"]) for each in found.values())
    assert statistics.fmean(each for each, _ in places) == pytest.approx(7 / 9, abs=0.25)
    assert min(math.dist(a, b) for i, a in enumerate(places) for b in places[:i]) > 0.03
    for fork in found.values():
        assert fork.architecture["fixed"] == fork.source / 100


def test_choices_are_explored_and_numbers_below_a_new_one_are_in_range() -> None:
    tree = Struct(
        batch=changeable(Choice(32, 64, 128)),
        augmentation=changeable(Choice("none", mixup=Struct(alpha=changeable(Real(0.1, 1.0))))),
    )
    space = Space("chosen", "", tree, TINY.make)
    found = []
    for seed in range(12):
        schedule = make_schedule("pb2", 4, space, seed, {"quantile": 0.5})
        for trial in range(6):
            schedule.began(trial, {"batch": 64, "augmentation": "none"})
        schedule.closing()
        for trial in range(6):
            schedule.judge(trial, 1, [float(trial)])
        found += [fork.architecture for fork in forks(schedule.released()).values()]
    assert {each["batch"] for each in found} == {32, 64, 128}
    alphas = [each["augmentation"]["mixup"]["alpha"] for each in found if each["augmentation"] != "none"]
    assert len(alphas) > 12 and all(0.1 <= alpha <= 1.0 for alpha in alphas) and len(set(alphas)) == len(alphas)


EPOCHS = 12


def best(epoch: int) -> float:
    """The place of the best rate in an epoch: it falls from 0.9 to 0.1."""
    return 0.9 - 0.8 * epoch / EPOCHS


def errors(name: str, seed: int) -> list[float]:
    """How far the forks' rates are from the best of the epoch that they go into, from the fourth on."""
    schedule, rng = make_schedule(name, EPOCHS, SPACE, seed), Random(seed)
    members: dict[int, Any] = {trial: SPACE.draw(rng) for trial in range(8)}
    levels = dict.fromkeys(members, 0.0)
    for trial, architecture in members.items():
        schedule.began(trial, architecture)
    schedule.closing()
    found = []
    for epoch in range(1, EPOCHS):
        for trial, architecture in members.items():
            gained = 1 - 4 * (place(architecture["rate"]) - best(epoch)) ** 2 + rng.gauss(0, 0.02)
            levels[trial] += math.exp(-epoch / 4) * gained
        for trial in members:
            schedule.judge(trial, epoch, [-levels[trial]])
        for trial, fork in forks(schedule.released()).items():
            del members[trial]
            new = len(levels)
            members[new], levels[new] = fork.architecture, levels[fork.source]
            schedule.began(new, fork.architecture, fork, trial)
            if epoch >= 4:
                found.append(abs(place(fork.architecture["rate"]) - best(epoch + 1)))
    return found


@pytest.mark.slow
def test_it_follows_a_best_rate_that_drifts(monkeypatch: pytest.MonkeyPatch) -> None:
    def mean(name: str) -> float:
        return statistics.fmean(error for seed in range(8) for error in errors(name, seed))

    following, perturbing = mean("pb2"), mean("pbt")
    monkeypatch.setattr(drift, "DRIFTS", (0.0,))
    # Draws at random would be 0.3 away. Measured over ten seeds: 0.14; pbt 0.23; what never forgets 0.17.
    assert following < 0.17
    assert following < 0.8 * perturbing
    assert following < 0.95 * mean("pb2")
