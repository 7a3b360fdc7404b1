from collections.abc import Callable
from math import pi
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special
from scipy.integrate import quad
from torch import nn
from torch.func import functional_call

from search_spaces.activations.rational_table import COEFFICIENTS
from search_spaces.bases.adaptive import Adaptive
from search_spaces.bases.af_kan import AFKAN, COMBINATIONS
from search_spaces.bases.favard import Favard
from search_spaces.bases.rational import INITS, RationalBasis
from search_spaces.bases.relu_kan import ReLUKAN
from search_spaces.bases.wavelet import FORMS, SMALLEST_SCALE, Wavelet

Array = NDArray[np.float64]

X = np.linspace(-4, 4, 161)

WAVELETS: dict[str, Callable[[Array], Array]] = {
    "mexican_hat": lambda t: 2 / (3**0.5 * pi**0.25) * (t**2 - 1) * np.exp(-(t**2) / 2),
    "morlet": lambda t: np.cos(5 * t) * np.exp(-(t**2) / 2),
    "dog": lambda t: -t * np.exp(-(t**2) / 2),
    "shannon": lambda t: 2 * np.sinc(2 * t) - np.sinc(t),
}


def disturbed(basis: Any, seed: int = 0) -> Any:
    """Return the basis in float64 with its parameters moved away from the start."""
    rng = torch.Generator().manual_seed(seed)
    basis = basis.double()
    with torch.no_grad():
        for parameter in basis.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=rng, dtype=torch.float64))
    return basis


def parameters_of(basis: nn.Module) -> dict[str, Array]:
    return {name: parameter.detach().double().numpy() for name, parameter in basis.named_parameters()}


LEARNED = {
    **{f"wavelet {form}": lambda form=form: Wavelet(form, 3) for form in FORMS},
    **{f"af_kan {name}": lambda name=name: AFKAN(name, 2, 2) for name in COMBINATIONS},
    "rational_basis": lambda: RationalBasis("silu", 3),
    "favard": lambda: Favard(4),
    "adaptive": lambda: Adaptive(3, 2),
}


@pytest.mark.parametrize("name", LEARNED)
def test_gradients_by_input_and_parameters_pass_gradcheck(name: str) -> None:
    torch.manual_seed(0)
    basis = disturbed(LEARNED[name]())
    names = list(dict(basis.named_parameters()))
    x = torch.tensor([-1.71, -0.2, 0.013, 0.9, 2.3], dtype=torch.float64, requires_grad=True)

    def values(x: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = functional_call(basis, dict(zip(names, parameters, strict=True)), (x,))
        return found

    assert torch.autograd.gradcheck(values, (x, *basis.parameters()))
    assert torch.autograd.gradgradcheck(basis, (x,))


@pytest.mark.parametrize("form", FORMS)
def test_wavelets_are_the_mother_wavelet_scaled_and_shifted(form: str) -> None:
    basis = disturbed(Wavelet(form, 5))
    moved = parameters_of(basis)
    scale = SMALLEST_SCALE + np.log1p(np.exp(moved["raw_scale"]))
    wanted = WAVELETS[form]((X[:, None] - moved["shift"]) / scale)
    np.testing.assert_allclose(basis(torch.from_numpy(X)).detach(), wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("form", "t", "value"),
    [
        ("mexican_hat", 0, -2 / (3**0.5 * pi**0.25)),
        ("mexican_hat", 1, 0),
        ("morlet", 0, 1),
        ("morlet", pi / 5, -np.exp(-(pi**2) / 50)),
        ("dog", 0, 0),
        ("dog", 1, -np.exp(-0.5)),
        ("shannon", 0, 1),
        ("shannon", 1, 0),
        ("shannon", 0.5, -2 / pi),
    ],
)
def test_mother_wavelets_at_points_worked_by_hand(form: str, t: float, value: float) -> None:
    assert FORMS[form](torch.tensor(t, dtype=torch.float64)).item() == pytest.approx(value, abs=1e-14)


@pytest.mark.parametrize(
    ("form", "mean", "energy"), [("mexican_hat", 0, 1), ("dog", 0, pi**0.5 / 2), ("morlet", 9.4e-6, 0.886)]
)
def test_mother_wavelets_have_zero_mean(form: str, mean: float, energy: float) -> None:
    def at(t: float) -> float:
        return FORMS[form](torch.tensor(t, dtype=torch.float64)).item()

    assert quad(at, -12, 12, limit=200)[0] == pytest.approx(mean, abs=1e-7)
    assert quad(lambda t: at(t) ** 2, -12, 12, limit=200)[0] == pytest.approx(energy, rel=1e-3)


def test_wavelets_start_at_scale_one_spread_over_the_grid_and_never_narrow_to_nothing() -> None:
    basis = Wavelet("dog", 5)
    x = torch.linspace(-4, 4, 33)
    wanted = WAVELETS["dog"](x.double().numpy()[:, None] - np.array([-2, -1, 0, 1, 2]))
    torch.testing.assert_close(basis(x).detach().double(), torch.from_numpy(wanted), atol=1e-6, rtol=1e-5)
    with torch.no_grad():
        basis.raw_scale.fill_(-1e4)
    at_one_scale = basis(torch.tensor([-2.0, -1.0]) + SMALLEST_SCALE).detach()
    torch.testing.assert_close(at_one_scale.diagonal(), torch.full((2,), -(0.5**0.5) * np.exp(-0.5) * 2**0.5))


def test_shannon_has_a_smooth_gradient_at_zero_in_single_precision() -> None:
    t = torch.linspace(-1, 1, 4001).mul(1e-3).requires_grad_()
    FORMS["shannon"](t).sum().backward()
    assert t.grad is not None
    curvature = -(pi**2) * (8 - 1) / 3  # of 2·sinc(2t) - sinc(t) at 0
    torch.testing.assert_close(t.grad, (curvature * t).detach(), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("combination", "value"),
    [
        ("quad1", 9 / 16),
        ("quad2", 13 / 16),
        ("sum", 1),
        ("prod", 3 / 4),
        ("sum_prod", 7 / 8),
        ("cubic1", 40 / 64),
        ("cubic2", 27 / 64),
    ],
)
def test_af_kan_by_hand(combination: str, value: float) -> None:
    """Of 7 functions with supports of length 4 the fourth has its middle at 0: at 1, a = 3 and b = 1."""
    basis = AFKAN(combination, 4, 3, "relu")
    assert basis.count == 7
    assert basis(torch.tensor([1.0]))[0, 3].item() == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_af_kan_of_silu_in_numpy(combination: str) -> None:
    basis = disturbed(AFKAN(combination, 5, 3))
    formula: dict[str, Callable[[Array, Array], Array]] = {
        "quad1": lambda a, b: a**2 * b**2,
        "quad2": lambda a, b: (a + b) ** 2 - a * b,
        "sum": lambda a, b: a + b,
        "prod": lambda a, b: a * b,
        "sum_prod": lambda a, b: (1 + a) * (1 + b) - 1,
        "cubic1": lambda a, b: a**3 + b**3 + a * b * (a + b),
        "cubic2": lambda a, b: a**3 * b**3,
    }

    def at(x: Array) -> Array:
        starts = -2 + 0.8 * np.arange(-3, 5)
        after, before = x[:, None] - starts, starts + 3.2 - x[:, None]
        return formula[combination](after * special.expit(after), before * special.expit(before))

    weights = special.softmax(parameters_of(basis)["gate"]) * 8
    wanted = weights * at(X) / np.abs(at(np.linspace(-2, 2, 257))).max(0)
    np.testing.assert_allclose(basis(torch.from_numpy(X)).detach(), wanted, rtol=1e-6, atol=1e-6)


def test_af_kan_of_relu_and_quad1_is_relu_kan_on_the_grid() -> None:
    x = torch.linspace(-6, 6, 101)
    inner = slice(1, 6)  # the functions whose middle, and so whose largest value, lies on the grid
    torch.testing.assert_close(AFKAN("quad1", 4, 3, "relu")(x)[:, inner], ReLUKAN(4, 3)(x)[:, inner])


@pytest.mark.parametrize("combination", COMBINATIONS)
def test_af_kan_is_constant_beyond_all_supports(combination: str) -> None:
    values = AFKAN(combination)(torch.tensor([-1e4, -4.4, 4.4, 1e4]))
    torch.testing.assert_close(values[0], values[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(values[2], values[3], rtol=1e-4, atol=1e-5)


def test_the_gates_of_af_kan_start_at_one_and_sum_to_the_number_of_functions() -> None:
    basis = AFKAN("prod", 3, 2)
    x = torch.linspace(-2, 2, 9)
    start = basis(x)
    with torch.no_grad():
        basis.gate[1] += 1
    gates = (basis(x) / start)[4]
    wanted = 5 * torch.tensor([1, np.e, 1, 1, 1]) / (4 + np.e)
    torch.testing.assert_close(gates, wanted.float())


@pytest.mark.parametrize("init", INITS)
def test_rational_bases_start_as_shifted_activations(init: str) -> None:
    reference = {"silu": lambda u: u * special.expit(u), "gelu": lambda u: u * special.ndtr(u), "tanh": np.tanh}[init]
    basis = RationalBasis(init, 3)
    x = np.linspace(-1, 1, 41)
    wanted = reference(x[:, None] - np.array([-2, 0, 2]))
    np.testing.assert_allclose(basis(torch.from_numpy(x)).detach(), wanted, atol=0.02)
    assert RationalBasis(init, 1).shift.tolist() == [0]


def test_rational_bases_are_quotients_of_polynomials() -> None:
    basis = disturbed(RationalBasis("silu", 4))
    moved = parameters_of(basis)
    u = X[:, None] - moved["shift"]
    above = sum(moved["numerator"][:, i] * u**i for i in range(6))
    below = 1 + sum(np.abs(moved["denominator"][:, i] * u ** (i + 1)) for i in range(4))
    np.testing.assert_allclose(basis(torch.from_numpy(X)).detach(), above / below, rtol=1e-12)
    assert set(INITS) <= set(COEFFICIENTS)


@pytest.mark.parametrize("degree", [1, 2, 5])
@pytest.mark.parametrize("start", ["chebyshev", "legendre"])
def test_favard_starts_as_known_polynomials(start: str, degree: int) -> None:
    n, z = np.arange(degree + 1), np.tanh(X)[:, None]
    wanted = {
        "chebyshev": special.eval_chebyt(n, z) * np.where(n, 2**0.5, 1),
        "legendre": special.eval_legendre(n, z) * np.sqrt(2 * n + 1),
    }[start]
    basis = Favard(degree, start)
    np.testing.assert_allclose(basis(torch.from_numpy(X)).detach(), wanted, rtol=1e-5, atol=1e-5)


def test_every_favard_basis_is_orthonormal_under_its_own_measure() -> None:
    """The measure has the eigenvalues of the Jacobi matrix of the recurrence as its points (Golub and Welsch)."""
    basis = disturbed(Favard(4), seed=3)
    moved = parameters_of(basis)
    root = 0.1 + np.log1p(np.exp(moved["raw_root"]))
    gamma = np.append(moved["gamma"], 0.05)  # one point more than functions would show is free
    points, vectors = np.linalg.eigh(np.diag(gamma) + np.diag(root, 1) + np.diag(root, -1))
    assert np.abs(points).max() < 1
    values = basis(torch.from_numpy(np.arctanh(points))).detach().numpy()
    np.testing.assert_allclose(values.T * vectors[0] ** 2 @ values, np.eye(5), atol=1e-10)


def test_micro_networks_one_by_one() -> None:
    torch.manual_seed(3)
    basis = disturbed(Adaptive(3, 5))
    moved = parameters_of(basis)
    values = basis(torch.from_numpy(X)).detach()
    for j in range(3):
        hidden = np.tanh(np.outer(X, moved["weight"][j]) + moved["offset"][j])
        np.testing.assert_allclose(values[:, j], hidden @ moved["outer"][j] + moved["bias"][j], atol=1e-12)


def test_micro_networks_start_different_and_bend_on_the_grid() -> None:
    torch.manual_seed(0)
    basis = Adaptive(6, 4)
    bends = -basis.offset / basis.weight
    assert bends.abs().max() <= 2
    assert bends.diff(dim=1).min() > 0
    assert 1 <= basis.weight.abs().min() and basis.weight.abs().max() <= 2
    assert basis.weight.min() < 0 < basis.weight.max()
    correlations = torch.corrcoef(basis(torch.linspace(-2, 2, 101)).detach().T) - torch.eye(6)
    assert correlations.abs().max() < 1 - 1e-3


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: Wavelet("haar"), "'haar'.*mexican_hat"),
        (lambda: Wavelet(count=0), "no 0 wavelets"),
        (lambda: AFKAN("quad3"), "'quad3'.*quad1"),
        (lambda: AFKAN(activation="sine"), "'sine'.*silu"),
        (lambda: AFKAN(intervals=0), "on 0 intervals"),
        (lambda: RationalBasis("sine"), "'sine'.*silu"),
        (lambda: RationalBasis(count=0), "no 0 rational"),
        (lambda: Favard(0), "got 0"),
        (lambda: Favard(start="hermite"), "'hermite'.*chebyshev"),
        (lambda: Adaptive(0), "no 0 networks"),
        (lambda: Adaptive(hidden=0), "of 0 hidden"),
    ],
)
def test_what_there_is_no_basis_of_is_refused(refused: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()
