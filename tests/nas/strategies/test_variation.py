"""Mutation of a decision, and the rate that learns how many to redraw."""

from __future__ import annotations

import statistics
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.strategies.variation import Rate, nudge
from search_spaces.decisions import Choice, Decision, Integer, Real

DOMAINS = st.one_of(
    st.builds(lambda low, span: Integer(low, low + span), st.integers(-5, 5), st.integers(1, 40)),
    st.builds(lambda low, span: Integer(low, low + span, log=True), st.integers(1, 5), st.integers(1, 40)),
    st.builds(lambda low, span, log: Real(low, low + span, log), st.floats(0.1, 5), st.floats(0.1, 9), st.booleans()),
    st.just(Choice("a", None, 2)),
)


@given(DOMAINS, st.integers(0, 2**32))
def test_a_nudge_gives_another_allowed_value(domain: Decision, seed: int) -> None:
    rng = Random(seed)
    value = domain.draw(rng)
    moved = nudge(domain, value, rng)
    assert moved != value and (moved is None or domain.check(moved) is not None)


@pytest.mark.parametrize("domain", [Real(0, 1000), Integer(0, 1000)])
def test_every_other_nudge_of_a_number_is_near(domain: Real | Integer) -> None:
    rng = Random(0)
    moves = [abs(float(nudge(domain, 500, rng)) - 500) for _ in range(2000)]  # type: ignore[arg-type]
    # Half are even draws, of which 1 in 5 lies within 100; of the normal steps of 100 the others, 68 in 100.
    assert statistics.mean(move <= 100 for move in moves) == pytest.approx(0.5 * 0.2 + 0.5 * 0.683, abs=0.045)


def test_a_small_whole_number_moves_to_its_neighbours_more_often() -> None:
    moved = [nudge(Integer(1, 5), 3, Random(seed)) for seed in range(800)]
    assert set(moved) == {1, 2, 4, 5} and sum(value in (2, 4) for value in moved) > 0.6 * 800


def test_an_option_is_drawn_evenly() -> None:
    moved = [nudge(Choice("a", "b", "c", "d"), "a", Random(seed)) for seed in range(900)]
    assert all(240 < moved.count(option) < 360 for option in "bcd")  # 300, and four deviations of 14


def test_the_rate_stands_still_at_one_success_in_five() -> None:
    rate = Rate(2.0)
    rate.learn(True)
    assert rate.mean == 3.0
    for _ in range(4):
        rate.learn(False)
    assert rate.mean == pytest.approx(2.0)


def test_the_rate_stays_between_one_and_sixteen_and_may_be_fixed() -> None:
    rate, fixed = Rate(1.0), Rate(2.5, adaptive=False)
    for success, limit in ((True, 16.0), (False, 1.0)):
        for _ in range(100):
            rate.learn(success)
            fixed.learn(success)
        assert rate.mean == limit and fixed.mean == 2.5


def test_draws_are_the_rate_on_average_and_at_most_half_of_the_decisions() -> None:
    rng = Random(0)
    drawn = [Rate(2.25).draw(46, rng) for _ in range(4000)]
    assert set(drawn) == {2, 3} and statistics.mean(drawn) == pytest.approx(2.25, abs=0.03)
    assert {Rate(9.5).draw(decided, rng) for decided in (6, 7)} == {3}
    assert Rate(9.5).draw(1, rng) == 1
