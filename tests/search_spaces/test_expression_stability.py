"""The rejection of unstable expressions."""

import math
from random import Random

import numpy as np
import pytest
import torch
from scipy import integrate, special
from torch import Tensor
from torch.nn import functional

from search_spaces.expressions.simplify import simplify
from search_spaces.expressions.stability import Unstable, check, gradient_growth, instability, moments
from search_spaces.expressions.text import parse, show
from search_spaces.expressions.tree import Tree, Unary, evaluate
from search_spaces.expressions.variation import grow

KNOWN = {
    "relu": "max(x, 0)",
    "leaky_relu": "max(x, 0.01*x)",
    "silu": "x*sigmoid(x)",
    "gelu": "x*(1+erf(x/sqrt(2)))/2",
    "elu": "relu(x)+exp(min(x, 0))-1",
    "tanh": "tanh(x)",
    "softplus": "softplus(x)",
    "softsign": "x/(1+abs(x))",
    "mish": "x*tanh(softplus(x))",
    "hardswish": "x*max(0, min(1, x/6+0.5))",
}
REJECTED = {
    "x - x": "it does not depend on x",
    "learned(2)": "it does not depend on x",
    "relu(-abs(x))": "it does not depend on x",
    "cube(cube(cube(x)))": "its value at x=-1e+04 is -inf",
    "x**2": "its slope at x=-1e+04 is -2e+04, but at most ±10 is allowed",
    "relu(x)**2": "its slope at x=1e+04 is 2e+04, but at most ±10 is allowed",
    "exp(x)": "its slope at x=",
    "1/x": "its slope at x=",
    "x*sin(x)": "its slope at x=",
    "2*x": "E[f²] of standard normal inputs is 4, but 0.1 to 3 is allowed",
    "tanh(x/10)": "E[f²] of standard normal inputs is 0.00981, but 0.1 to 3 is allowed",
    "sigmoid(x)": "E[f'²] of standard normal inputs is 0.0448, but 0.1 to 3 is allowed",
    "x-tanh(x)": "12 layers multiply squared gradients by",
    "relu(x)*tanh(x)": "12 layers multiply squared gradients by",
    "sin(4*x)": "E[f'²] of standard normal inputs is 8, but 0.1 to 3 is allowed",
}


@pytest.mark.parametrize("name", KNOWN)
def test_known_activations_are_expressions_and_stable(name: str) -> None:
    tree = parse(KNOWN[name])
    x = torch.cat([torch.linspace(-9, 9, 101, dtype=torch.float64), torch.tensor([-1e4, 1e4], dtype=torch.float64)])
    wanted: Tensor = getattr(functional, name)(x)
    torch.testing.assert_close(evaluate(tree, x), wanted, rtol=1e-6, atol=2e-6)
    assert instability(tree) is None


@pytest.mark.parametrize("text", REJECTED)
def test_the_unstable_are_rejected_with_the_reason(text: str) -> None:
    with pytest.raises(Unstable) as caught:
        check(parse(text))
    reason = str(caught.value)
    assert reason.startswith(f"{show(parse(text))} is unstable: {REJECTED[text]}") and "\n" not in reason


@pytest.mark.parametrize(
    ("text", "value", "slope"),
    [
        ("x", 1, 1),
        ("relu(x)", 1 / 2, 1 / 2),
        ("x**2", 3, 4),
        ("sin(x)", (1 - math.exp(-2)) / 2, (1 + math.exp(-2)) / 2),
        ("exp(-x**2)", 5**-0.5, 4 / 5**1.5),
        ("erf(x)", 2 / math.pi * math.asin(2 / 3), 4 / math.pi / 5**0.5),
    ],
)
def test_moments_in_closed_form(text: str, value: float, slope: float) -> None:
    assert moments(parse(text)) == pytest.approx((value, slope), rel=1e-5)


def test_moments_that_scipy_integrates() -> None:
    def integral(of_square: object) -> float:
        density = lambda z: np.exp(-z * z / 2) / math.sqrt(2 * math.pi)  # noqa: E731
        return integrate.quad(lambda z: of_square(z) ** 2 * density(z), -12, 12)[0]  # type: ignore[operator]

    def slope(z: float) -> float:
        return float(special.expit(z) + z * special.expit(z) * special.expit(-z))

    got = moments(parse("x*sigmoid(x)"))
    assert got == pytest.approx((integral(lambda z: z * special.expit(z)), integral(slope)), rel=1e-5)


@pytest.mark.parametrize(("text", "growth"), [("relu(x)", 1), ("abs(x)", 2**12), ("x/2", 2**-12), ("sin(x)", None)])
def test_the_growth_of_gradients_by_hand(text: str, growth: float | None) -> None:
    """For sin, E[sin²(σz)] = (1 - exp(-2σ²))/2 and E[cos²(σz)] = (1 + exp(-2σ²))/2."""
    if growth is None:
        variance, growth = 1.0, 1.0
        for _ in range(12):
            variance, growth = 1 - math.exp(-2 * variance), growth * (1 + math.exp(-2 * variance))
    assert gradient_growth(parse(text)) == pytest.approx(growth, rel=1e-4)


def gradient_through_twelve_layers(tree: Tree) -> float:
    """Return the growth of the gradient's second moment from the last layer to the first, under He initialisation."""
    torch.manual_seed(0)
    x = torch.randn(64, 128, requires_grad=True)
    h = x
    for _ in range(12):
        h = evaluate(tree, h @ (torch.randn(128, 128) * (2 / 128) ** 0.5))
    (slope,) = torch.autograd.grad(h, x, torch.randn_like(h))
    return slope.square().mean().item()


@pytest.mark.parametrize("name", KNOWN)
def test_gradients_survive_a_deep_stack_of_stable_ones(name: str) -> None:
    assert 1e-10 < gradient_through_twelve_layers(parse(KNOWN[name])) < 1e10


def test_gradients_survive_a_deep_stack_of_drawn_stable_ones() -> None:
    rng = Random(0)
    drawn = [tree for tree in (simplify(grow(rng, 4)) for _ in range(400)) if instability(tree) is None]
    assert len(drawn) > 30
    measured = [gradient_through_twelve_layers(tree) for tree in drawn[:60]]
    assert 1e-11 < min(measured) < max(measured) < 1e11


@pytest.mark.parametrize("text", ["sigmoid(x)", "tanh(x/10)", "x**2", "3*x", "sin(8*x)", "x-tanh(x)"])
def test_gradients_do_not_survive_a_deep_stack_of_rejected_ones(text: str) -> None:
    grown = gradient_through_twelve_layers(parse(text))
    assert instability(parse(text)) is not None
    assert not 1e-11 < grown < 1e11


def test_a_learned_number_counts_where_it_starts() -> None:
    assert instability(Unary("sin", parse("learned(1)*x"))) is None
    assert instability(Unary("sin", parse("learned(8)*x"))) is not None
