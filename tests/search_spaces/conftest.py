"""Random trees of decisions, for the property tests of the decision language."""

from __future__ import annotations

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from search_spaces.decisions import Choice, Domain, Integer, Real, Repeat, Struct

torch.set_num_threads(1)

NAMES = st.sampled_from(["a", "b", "c", "d"])
INTEGERS = st.builds(
    lambda low, span, step: Integer(low, low + span, step),
    st.integers(-3, 5),
    st.integers(0, 6),
    st.integers(1, 3),
)
LOGARITHMIC = st.builds(lambda low, span: Integer(low, low + span, log=True), st.integers(1, 5), st.integers(0, 6))
PLAIN = st.lists(st.sampled_from(["x", "y", None, 1, 2.5, False]), min_size=1, max_size=4, unique=True)
CHOICES = PLAIN.map(lambda options: Choice(*options))
REALS = st.builds(
    lambda low, span, log: Real(low, low + span, log),
    st.floats(1e-3, 10),
    st.sampled_from([0.0, 0.5, 100.0]),
    st.booleans(),
)


def _larger(domains: SearchStrategy[Domain]) -> SearchStrategy[Domain]:
    fields = st.dictionaries(NAMES, domains, min_size=1, max_size=3)
    return st.one_of(
        fields.map(lambda named: Struct(**named)),
        st.builds(lambda plain, named: Choice(*plain, **named), PLAIN, fields),
        st.builds(
            lambda item, low, span, tied: Repeat(item, low, low + span, tied),
            domains,
            st.integers(0, 2),
            st.integers(0, 2),
            st.booleans(),
        ),
    )


def _trees(leaves: SearchStrategy[Domain]) -> SearchStrategy[Struct]:
    domains = st.recursive(leaves, _larger, max_leaves=8)
    return st.dictionaries(NAMES, domains, min_size=1, max_size=3).map(lambda named: Struct(**named))


@pytest.fixture(scope="session")
def trees() -> SearchStrategy[Struct]:
    """Return a strategy for trees with every kind of decision."""
    return _trees(st.one_of(INTEGERS, LOGARITHMIC, CHOICES, REALS))


@pytest.fixture(scope="session")
def finite_trees() -> SearchStrategy[Struct]:
    """Return a strategy for trees with finitely many architectures."""
    return _trees(st.one_of(INTEGERS, CHOICES))
