from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from search_spaces.activations.polynomial import PolyNorm, PolyReLU


def test_polyrelu_is_its_formula(matches: Callable[..., None], shaken: Callable[..., nn.Module]) -> None:
    assert PolyReLU(4).coefficients.tolist() == [0, *[float(np.float32(1 / 3))] * 3]
    activation = shaken(PolyReLU(4)).double()
    a = activation.get_parameter("coefficients").detach().numpy()
    matches(activation, lambda x: np.polynomial.polynomial.polyval(np.maximum(x, 0), a), channels=4)


def rms_normalised(u: Any) -> Any:
    return u / np.sqrt((u**2).mean(1, keepdims=True) + 1e-6)


def test_polynorm_is_its_formula_with_the_mean_over_channels(
    matches: Callable[..., None], shaken: Callable[..., nn.Module]
) -> None:
    fresh = PolyNorm(6)
    assert fresh.weights.tolist() == [float(np.float32(1 / 3))] * 3 and fresh.bias.item() == 0
    activation = shaken(fresh).double()
    w, b = (activation.get_parameter(name).detach().numpy() for name in ("weights", "bias"))
    matches(activation, lambda x: sum(w[i] * rms_normalised(x ** (i + 1)) for i in range(3)) + b, channels=6)


def test_polynorm_hardly_depends_on_the_scale_of_its_input() -> None:
    x = torch.randn(4, 32, 3, 3)
    torch.testing.assert_close(PolyNorm(32)(1000 * x), PolyNorm(32)(x), rtol=0, atol=1e-4)


def test_powers_do_not_overflow_in_bfloat16() -> None:
    x = torch.tensor([[1e4, -2e4, 3e4, 5.0]])
    torch.testing.assert_close(PolyNorm(4)(x.bfloat16()).float(), PolyNorm(4)(x), rtol=2e-2, atol=1e-2)
