from collections.abc import Callable

import numpy as np
import pytest

from search_spaces.activations.crrelu import CRReLU


@pytest.mark.parametrize("epsilon", [0.01, -0.7])
def test_formula(epsilon: float, matches: Callable[..., None]) -> None:
    activation = CRReLU(3, epsilon).double()
    e = activation.epsilon.item()
    assert e == pytest.approx(epsilon)
    matches(activation, lambda x: np.maximum(x, 0) + e * x * np.exp(-(x**2) / 2), channels=3)
