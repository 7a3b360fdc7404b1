"""Random expressions, for the property tests of their text and of their canonical form."""

import torch
from hypothesis import strategies as st
from torch import Tensor

from search_spaces.expressions.primitives import BINARY, UNARY
from search_spaces.expressions.tree import Binary, Constant, Learned, Tree, Unary, X, evaluate, subtrees

POINTS = torch.linspace(-3.13, 2.97, 24, dtype=torch.float64)

CONSTANTS = st.one_of(st.sampled_from([0.0, 1.0, -1.0, 2.0]), st.floats(-3, 3).map(lambda c: round(c, 3)))
LEAVES: st.SearchStrategy[Tree] = st.one_of(
    st.just(X()), st.just(X()), CONSTANTS.map(Constant), st.sampled_from([1.0, -0.5]).map(Learned)
)
TREES = st.recursive(
    LEAVES,
    lambda below: st.one_of(
        st.builds(Unary, st.sampled_from(list(UNARY)), below),
        st.builds(Binary, st.sampled_from(list(BINARY)), below, below),
    ),
    max_leaves=10,
)


def moderate(tree: Tree) -> Tensor:
    """Say at which points all values on the way are moderate, so that no rounding is blown up."""
    values = torch.stack([evaluate(each, POINTS) for each in subtrees(tree)])
    return (values.abs() <= 1e4).all(0)
