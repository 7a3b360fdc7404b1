import math
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf

from search_spaces.activations.rational import Rational, group_rational
from search_spaces.activations.rational_fit import fit, targets
from search_spaces.activations.rational_table import COEFFICIENTS
from search_spaces.registry import make

KNOWN: dict[str, Any] = {
    "silu": (lambda x: x / (1 + np.exp(-x)), 1e-4),
    "gelu": (lambda x: x / 2 * (1 + erf(x / math.sqrt(2))), 4e-3),
    "relu": (lambda x: np.where(x > 0, x, 0), 6e-2),
    "tanh": (np.tanh, 1e-4),
    "identity": (lambda x: x, 1e-4),
}


@pytest.mark.parametrize("name", ["silu", "gelu", "relu"])
def test_the_usual_activations(name: str) -> None:
    x = np.linspace(-4, 4, 101)
    got = make("activation", name, 1)(torch.from_numpy(x))
    np.testing.assert_allclose(got, KNOWN[name][0](x), atol=1e-12)


def test_helu_is_relu_forward_and_its_gradient_lives_until_minus_alpha() -> None:
    x = torch.tensor([-1.0, -0.11, -0.1, -0.09, 0.0, 2.0], requires_grad=True)
    y = make("activation", {"helu": {"alpha": 0.1}}, 1)(x)
    y.backward(torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0]))
    assert y.tolist() == [0, 0, 0, 0, 0, 2]
    assert x.grad is not None
    assert x.grad.tolist() == [0, 0, 0, 4, 5, 6]


def reference(x: Any, a: Any, b: Any) -> Any:
    return sum(a[i] * x**i for i in range(6)) / (1 + sum(abs(b[i - 1]) * abs(x) ** i for i in range(1, 5)))


def test_rational_is_its_formula_with_gradients_that_finite_differences_confirm() -> None:
    rng = np.random.default_rng(0)
    a, b, x = rng.normal(size=6), rng.normal(size=4), rng.normal(size=(2, 3, 4)) * 3
    activation = Rational(3).double()
    activation.numerator.data[:] = torch.from_numpy(a)
    activation.denominator.data[:] = torch.from_numpy(b)
    point = torch.from_numpy(x).requires_grad_()
    np.testing.assert_allclose(activation(point).detach(), reference(x, a, b), rtol=1e-12)
    activation(point).sum().backward()

    def slope(i: int, wanted: Any) -> float:
        step = np.eye(len(wanted))[i] * 1e-6
        sides = [(wanted + sign * step) for sign in (1, -1)]
        values = [reference(x, s, b) if wanted is a else reference(x, a, s) for s in sides]
        return float((values[0] - values[1]).sum() / 2e-6)

    assert activation.numerator.grad is not None and activation.denominator.grad is not None
    assert point.grad is not None
    assert activation.numerator.grad[0].tolist() == pytest.approx([slope(i, a) for i in range(6)], rel=1e-5)
    assert activation.denominator.grad[0].tolist() == pytest.approx([slope(i, b) for i in range(4)], rel=1e-5)
    np.testing.assert_allclose(
        point.grad, (reference(x + 1e-6, a, b) - reference(x - 1e-6, a, b)) / 2e-6, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", KNOWN)
def test_a_fitted_rational_is_near_its_function(name: str) -> None:
    function, bound = KNOWN[name]
    x = np.linspace(-3, 3, 601)
    got = make("activation", {"rational": {"init": name}}, 1)(torch.from_numpy(x)[:, None])[:, 0]
    assert np.abs(got.detach().numpy() - function(x)).max() < bound


@pytest.mark.parametrize("name", ["relu", "tanh"])
def test_the_table_is_what_the_fit_finds(name: str) -> None:
    x = np.linspace(-5, 5, 501)
    tabled, found = COEFFICIENTS[name], fit(targets()[name])
    np.testing.assert_allclose(reference(x, *map(np.array, tabled)), reference(x, *map(np.array, found)), atol=1e-4)


def test_no_coefficient_of_a_fitted_denominator_is_stuck_at_zero() -> None:
    assert all(b > 0 for _, denominator in COEFFICIENTS.values() for b in denominator)


def test_each_group_of_channels_has_its_own_function() -> None:
    activation = group_rational(12, groups=4)
    assert isinstance(activation, Rational)
    activation.denominator.data.zero_()
    activation.numerator.data.zero_()
    activation.numerator.data[:, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for x in (torch.randn(2, 12), torch.randn(2, 12, 5, 3)):
        factors = torch.tensor([1.0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).view(1, 12, *[1] * (x.ndim - 2))
        torch.testing.assert_close(activation(x), x * factors)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (12, 6), (20, 5), (7, 7), (11, 1)])
def test_the_groups_are_the_largest_number_up_to_eight_that_divides_the_channels(channels: int, groups: int) -> None:
    assert len(next(group_rational(channels).parameters())) == groups


def test_groups_that_do_not_divide_are_refused() -> None:
    with pytest.raises(ValueError, match="8 groups do not divide 12 channels"):
        Rational(12, groups=8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_inputs_do_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    x = torch.tensor([[-60.0, -10.0, 10.0, 60.0]])
    y = Rational(4)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), Rational(4)(x), rtol=1e-2, atol=0)
