from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special
from torch import Tensor, nn

from search_spaces.bases.bernstein import Bernstein
from search_spaces.bases.fourier import Fourier
from search_spaces.bases.polynomials import HERMITE_REACH, chebyshev, gegenbauer, hermite, jacobi, legendre

Array = NDArray[np.float64]

X = np.linspace(-5, 5, 201)
DEGREES = [1, 2, 5, 9]

# Name: the basis, SciPy's polynomial of degree n at z, the same as coefficients, and the ends of its range.
FAMILIES: dict[str, tuple[Callable[[int], Any], Callable[[int, Array], Array], Callable[[int], Any], float]] = {
    "chebyshev": (chebyshev, special.eval_chebyt, special.chebyt, 1),
    "legendre": (legendre, special.eval_legendre, special.legendre, 1),
    "hermite": (
        hermite,
        lambda n, z: special.eval_hermitenorm(n, z) / special.factorial(n) ** 0.5,
        lambda n: special.hermitenorm(n) / special.factorial(n) ** 0.5,
        HERMITE_REACH,
    ),
    "jacobi": (jacobi, lambda n, z: special.eval_jacobi(n, 1, 1, z), lambda n: special.jacobi(n, 1, 1), 1),
    "jacobi 0.5, -0.8": (
        lambda degree: jacobi(degree, 0.5, -0.8),
        lambda n, z: special.eval_jacobi(n, 0.5, -0.8, z),
        lambda n: special.jacobi(n, 0.5, -0.8),
        1,
    ),
    "gegenbauer": (gegenbauer, lambda n, z: special.eval_gegenbauer(n, 1, z), lambda n: special.gegenbauer(n, 1), 1),
    "gegenbauer 0.3": (
        lambda degree: gegenbauer(degree, 0.3),
        lambda n, z: special.eval_gegenbauer(n, 0.3, z),
        lambda n: special.gegenbauer(n, 0.3),
        1,
    ),
}
every_family = pytest.mark.parametrize("family", FAMILIES)


def squashed(x: Array, reach: float) -> tuple[Array, Array]:
    z = reach * np.tanh(x / reach)
    return z, 1 - np.tanh(x / reach) ** 2


def slopes_by_autograd(basis: nn.Module, x: Tensor) -> Tensor:
    x = x.clone().requires_grad_()
    columns = basis(x).unbind(-1)
    graded = [column if column.requires_grad else x * 0 for column in columns]
    return torch.stack([torch.autograd.grad(c.sum(), x, retain_graph=True)[0] for c in graded], -1)


@every_family
@pytest.mark.parametrize("degree", DEGREES)
def test_values_are_those_of_scipy(family: str, degree: int) -> None:
    make, evaluate, _, reach = FAMILIES[family]
    z, _ = squashed(X, reach)
    basis = make(degree)
    assert basis.count == degree + 1
    wanted = np.stack([evaluate(n, z) for n in range(degree + 1)], -1)
    np.testing.assert_allclose(basis(torch.from_numpy(X)), wanted, rtol=1e-10, atol=1e-10)


@every_family
@pytest.mark.parametrize("degree", DEGREES)
def test_slopes_and_gradients_are_those_of_scipy(family: str, degree: int) -> None:
    make, _, polynomial, reach = FAMILIES[family]
    z, slope = squashed(X, reach)
    wanted = np.stack([np.polyval(np.polyder(polynomial(n).coeffs), z) * slope for n in range(degree + 1)], -1)
    basis, x = make(degree), torch.from_numpy(X)
    np.testing.assert_allclose(basis.slopes(x), wanted, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(slopes_by_autograd(basis, x), wanted, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("family", "nodes"),
    [
        ("chebyshev", special.roots_chebyt(12)),
        ("legendre", special.roots_legendre(12)),
        ("jacobi", special.roots_jacobi(12, 1, 1)),
        ("jacobi 0.5, -0.8", special.roots_jacobi(12, 0.5, -0.8)),
        ("gegenbauer", special.roots_gegenbauer(12, 1)),
        ("gegenbauer 0.3", special.roots_gegenbauer(12, 0.3)),
        ("hermite", special.roots_hermitenorm(5)),  # exact to degree 9, and all nodes lie in reach
    ],
)
def test_polynomials_are_orthogonal_under_their_weight(family: str, nodes: tuple[Array, Array]) -> None:
    make, _, _, reach = FAMILIES[family]
    (z, weight), basis = nodes, make(4)
    values = basis(torch.from_numpy(reach * np.arctanh(z / reach))).numpy()
    gram = values.T * weight @ values
    assert np.diag(gram).min() > 0.05
    np.testing.assert_allclose(gram, np.diag(np.diag(gram)), atol=1e-10)
    if family == "hermite":
        np.testing.assert_allclose(gram / weight.sum(), np.eye(5), atol=1e-10)


@every_family
def test_second_derivatives_pass_gradcheck(family: str) -> None:
    basis = FAMILIES[family][0](5)
    x = torch.linspace(-2.1, 1.9, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(basis, (x,))
    assert torch.autograd.gradgradcheck(basis.slopes, (x,))


@pytest.mark.parametrize(
    ("special_case", "known"),
    [
        (lambda: jacobi(5, 0, 0), lambda z: [special.eval_legendre(n, z) for n in range(6)]),
        (
            lambda: jacobi(5, -0.5, -0.5),
            lambda z: [special.eval_chebyt(n, z) * special.binom(n - 0.5, n) for n in range(6)],
        ),
        (lambda: gegenbauer(5, 0.5), lambda z: [special.eval_legendre(n, z) for n in range(6)]),
        (lambda: gegenbauer(5, 1), lambda z: [special.eval_chebyu(n, z) for n in range(6)]),
    ],
    ids=[
        "jacobi 0, 0: Legendre",
        "jacobi -1/2, -1/2: Chebyshev",
        "gegenbauer 1/2: Legendre",
        "gegenbauer 1: second kind",
    ],
)
def test_special_cases(special_case: Callable[[], nn.Module], known: Callable[[Array], list[Array]]) -> None:
    wanted = np.stack(known(np.tanh(X)), -1)
    np.testing.assert_allclose(special_case()(torch.from_numpy(X)), wanted, rtol=1e-11, atol=1e-11)


def test_jacobi_with_zeros_is_legendre() -> None:
    x = torch.randn(50)
    torch.testing.assert_close(jacobi(5, 0, 0)(x), legendre(5)(x))
    torch.testing.assert_close(jacobi(5, 0, 0).slopes(x), legendre(5).slopes(x))


def test_hermite_leaves_the_middle_as_it_is_and_is_bounded_far_out() -> None:
    line = hermite(1)(torch.tensor([0.65, -1.0, 1e4, -1e4]))[:, 1]
    torch.testing.assert_close(line, torch.tensor([0.65, -1, 3, -3]), rtol=0.04, atol=0)


@pytest.mark.parametrize("degree", DEGREES)
def test_bernstein_polynomials_are_their_closed_form(degree: int) -> None:
    z, k = special.expit(X)[:, None], np.arange(degree + 1)
    basis, x = Bernstein(degree), torch.from_numpy(X)
    values = basis(x)
    np.testing.assert_allclose(values, special.comb(degree, k) * z**k * (1 - z) ** (degree - k), atol=1e-14)
    np.testing.assert_allclose(values.sum(-1), 1, atol=1e-14)
    assert values.std(0).min() > 0.05

    def lower(k: Array) -> Array:
        inside = (k >= 0) & (k < degree)
        powers = np.where(inside, k, 0)
        return np.where(inside, special.comb(degree - 1, powers) * z**powers * (1 - z) ** (degree - 1 - powers), 0)

    wanted = degree * (lower(k - 1) - lower(k)) * z * (1 - z)
    np.testing.assert_allclose(basis.slopes(x), wanted, atol=1e-13)
    np.testing.assert_allclose(slopes_by_autograd(basis, x), wanted, atol=1e-13)


@pytest.mark.parametrize("frequencies", [1, 2, 4, 9])
def test_fourier_functions_are_cosines_and_sines_of_multiples(frequencies: int) -> None:
    k = np.arange(1, frequencies + 1)
    basis, x = Fourier(frequencies), torch.from_numpy(X)
    angles = X[:, None] * k
    assert basis.count == 2 * frequencies
    np.testing.assert_allclose(basis(x), np.concatenate([np.cos(angles), np.sin(angles)], 1), atol=1e-12)
    wanted = np.concatenate([-k * np.sin(angles), k * np.cos(angles)], 1)
    np.testing.assert_allclose(basis.slopes(x), wanted, atol=1e-11)
    np.testing.assert_allclose(slopes_by_autograd(basis, x), wanted, atol=1e-11)


def test_fourier_functions_far_out_and_at_zero_in_single_precision() -> None:
    x = torch.tensor([-1e4, 0.0, 1e-3, 3.0, 1e4])
    angles = x.double().numpy()[:, None] * np.arange(1, 6)
    wanted = np.concatenate([np.cos(angles), np.sin(angles)], 1)
    np.testing.assert_allclose(Fourier(5)(x), wanted, atol=1e-5)


@pytest.mark.parametrize("basis", [Bernstein(5), Fourier(3)], ids=["bernstein", "fourier"])
def test_second_derivatives_of_the_others_pass_gradcheck(basis: Any) -> None:
    x = torch.linspace(-2.1, 1.9, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(basis, (x,))
    assert torch.autograd.gradgradcheck(basis.slopes, (x,))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: chebyshev(0), "Chebyshev.*got 0"),
        (lambda: legendre(0), "Legendre.*got 0"),
        (lambda: hermite(-1), "Hermite.*got -1"),
        (lambda: jacobi(0), "Jacobi.*got 0"),
        (lambda: jacobi(a=-1), "above -1, but got -1 and 1"),
        (lambda: gegenbauer(0), "Gegenbauer.*got 0"),
        (lambda: gegenbauer(alpha=0), "above 0, but got 0"),
        (lambda: Bernstein(0), "Bernstein.*got 0"),
        (lambda: Fourier(0), "frequencies.*got 0"),
    ],
)
def test_what_there_is_no_basis_of_is_refused(refused: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()
