"""Quasi-random search: evenness against random search, by scipy's discrepancy."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from nas.settings import SettingsError
from nas.strategies import make_strategy
from nas.strategies.qmc import ROWS, Sobol
from search_spaces.decisions import Choice, Integer, Real, Repeat, Struct
from search_spaces.space import Space


def space_of(**fields: Any) -> Space:
    return Space("drawn", "for tests", Struct(**fields), lambda architecture, signature: pytest.fail("not built"))


CUBE = space_of(**{f"x{i}": Real(0, 1) for i in range(5)})


def points(name: str, seed: int, count: int = 128) -> list[list[float]]:
    strategy = make_strategy(name, CUBE, 1, seed)
    found = []
    for turn in range(count):
        proposal = strategy.ask(turn)
        assert proposal is not None
        found.append(list(proposal.architecture.values()))
        if turn % 3:
            strategy.tell(turn, [0.0])
    return found


def test_its_discrepancy_is_far_below_that_of_random_draws() -> None:
    even = [qmc.discrepancy(points("qmc", seed)) for seed in range(8)]
    drawn = [qmc.discrepancy(points("random", seed)) for seed in range(8)]
    assert max(even) < 0.5 * min(drawn)


def test_every_option_comes_equally_often_in_a_power_of_two() -> None:
    space = space_of(a=Choice(*"wxyz"), b=Integer(0, 7), c=Choice("no", yes=Struct(d=Choice(True, False))))
    strategy = make_strategy("qmc", space, 1, 3)
    found = [strategy.ask(turn).architecture for turn in range(64)]  # type: ignore[union-attr]
    assert Counter(each["a"] for each in found) == dict.fromkeys("wxyz", 16)
    assert Counter(each["b"] for each in found) == dict.fromkeys(range(8), 8)
    assert Counter((each["a"], each["b"] // 4) for each in found) == {(a, b): 8 for a in "wxyz" for b in (0, 1)}
    assert Counter(str(each["c"]) for each in found)["no"] == 32


@pytest.mark.parametrize("number", [0, 5, ROWS - 1, ROWS, 10 * ROWS + 3])
def test_a_point_by_its_number_is_that_of_the_whole_sequence(number: int) -> None:
    whole = qmc.Sobol(3, seed=np.random.default_rng(9)).random(16 * ROWS)
    points = Sobol(3, 9)
    for each in (number, 0, number):
        assert points[each] == pytest.approx(whole[each], abs=0)


def test_another_seed_is_another_sequence() -> None:
    assert points("qmc", 1, 4) != points("qmc", 2, 4)


def test_a_space_of_too_many_decisions_is_refused() -> None:
    space = space_of(x=Repeat(Choice(0, 1), 21_202, 21_202))
    with pytest.raises(SettingsError, match="takes up to 21,201 decisions, but drawn has 21,202: use random"):
        make_strategy("qmc", space, 1, 0)
