"""Decisions as coordinates: equal parts, logarithms, and the way back."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.strategies.units import share_of, value_at
from search_spaces.decisions import Choice, Decision, Integer, Real

SHARES = st.floats(0, 1)
NUMBERS = st.one_of(
    st.builds(
        lambda low, span, step: Integer(low, low + span, step), st.integers(-9, 9), st.integers(1, 30), st.just(3)
    ),
    st.builds(lambda low, span: Integer(low, low + span, log=True), st.integers(1, 9), st.integers(1, 300)),
    st.builds(lambda low, span: Real(low, low + span), st.floats(-5, 5), st.floats(0.1, 100)),
    st.builds(lambda low, span: Real(low, low + span, log=True), st.floats(1e-3, 5), st.floats(0.1, 100)),
)


@given(NUMBERS, SHARES)
def test_a_value_is_allowed(domain: Integer | Real, share: float) -> None:
    assert domain.check(value_at(domain, share)) is not None


@pytest.mark.parametrize("domain", [Choice("a", None, 3, True), Integer(4, 10, step=2), Integer(-1, 2)])
def test_options_and_whole_numbers_have_equal_parts(domain: Decision) -> None:
    counts = Counter(value_at(domain, (i + 0.5) / 400) for i in range(400))
    assert set(counts.values()) == {100} and len(counts) == 4


def test_logarithmic_numbers_by_hand() -> None:
    assert value_at(Real(1, 100, log=True), 0.5) == pytest.approx(10)
    assert share_of(Real(1, 100, log=True), 10.0) == pytest.approx(0.5)
    # Of 1 to 4 the parts end at 0.5, 1.5, 2.5, 3.5 and 4.5: ln 3 / ln 9 = 0.5 of the way is 1.
    assert [value_at(Integer(1, 4, log=True), share) for share in (0.0, 0.49, 0.51, 1.0)] == [1, 1, 2, 4]


def test_a_whole_number_lies_in_the_middle_of_its_part() -> None:
    assert [share_of(Integer(4, 10, step=2), value) for value in (4, 6, 8, 10)] == [0.125, 0.375, 0.625, 0.875]


def test_a_draw_of_the_coordinate_is_a_draw_of_the_decision() -> None:
    domain, rng = Integer(1, 50, log=True), Random(0)
    drawn = sorted(domain.draw(rng) for _ in range(4000))
    placed = sorted(value_at(domain, (i + 0.5) / 4000) for i in range(4000))
    gaps = [abs(sum(v <= limit for v in drawn) - sum(v <= limit for v in placed)) for limit in range(1, 51)]
    assert max(gaps) < 0.04 * 4000  # Kolmogorov's statistic: 1.63/sqrt(4000) = 0.026 at one in a hundred


@given(NUMBERS, SHARES)
def test_the_share_of_a_value_leads_back_to_it(domain: Integer | Real, share: float) -> None:
    value = value_at(domain, share)
    back = value_at(domain, share_of(domain, value))
    assert back == value if isinstance(domain, Integer) else back == pytest.approx(value, abs=1e-9)
