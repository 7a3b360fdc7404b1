import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.special import erf, expit

from search_spaces.registry import entries, make

REFERENCES: dict[str, Any] = {
    "relu": lambda x: np.where(x > 0, x, 0),
    "gelu": lambda x: x / 2 * (1 + erf(x / math.sqrt(2))),
    "silu": lambda x: x * expit(x),
    "tanh": lambda x: 1 - 2 * expit(-2 * x),
    "mish": lambda x: x * np.tanh(np.logaddexp(0, x)),
    "hardswish": lambda x: np.where(x < -3, 0, np.where(x > 3, x, x * (x + 3) / 6)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(np.minimum(x, 0))),
    "softplus": lambda x: np.logaddexp(0, x),
    "identity": lambda x: x,
    "prelu": lambda x: np.where(x > 0, x, x / 4),
}


@pytest.mark.parametrize("name", [name for name in REFERENCES if name in entries("activation")])
def test_the_usual_activations(name: str, matches: Callable[..., None]) -> None:
    matches(make("activation", name, 1), REFERENCES[name], tolerance=3e-9 if name == "softplus" else 1e-12)
