import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline as SciPySpline

from search_spaces.bases.bspline import BSpline
from search_spaces.bases.chebyshev import Chebyshev
from search_spaces.bases.rbf import RBF
from search_spaces.registry import entries

X = np.linspace(-6, 6, 997) + 1e-4  # no point is a knot, where splines of order 1 have no slope


def scipy_splines(intervals: int, order: int, low: float, high: float) -> list[SciPySpline]:
    step = (high - low) / intervals
    knots = low + step * np.arange(-order, intervals + order + 1)
    return [SciPySpline.basis_element(knots[i : i + order + 2], extrapolate=False) for i in range(intervals + order)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("intervals", "low", "high"), [(1, -1.0, 1.0), (5, -2.0, 2.0), (8, -2.0, 1.5)])
def test_bsplines_and_their_slopes_are_those_of_scipy(order: int, intervals: int, low: float, high: float) -> None:
    basis = BSpline(intervals, order, low, high).double()
    x = torch.from_numpy(X).requires_grad_()
    values = basis(x)
    references = scipy_splines(intervals, order, low, high)
    assert basis.count == len(references) == values.shape[1]
    for i, spline in enumerate(references):
        np.testing.assert_allclose(values[:, i].detach(), np.nan_to_num(spline(X)), atol=1e-12)
        (slope,) = torch.autograd.grad(values[:, i].sum(), x, retain_graph=True)
        np.testing.assert_allclose(slope, np.nan_to_num(spline.derivative()(X)), atol=1e-11)


def test_second_derivatives_of_bsplines_pass_gradgradcheck() -> None:
    x = torch.linspace(-1.9, 1.9, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(BSpline(5, 3).double(), (x,))


def test_bsplines_sum_to_one_on_the_grid_and_vanish_far_out() -> None:
    basis = BSpline(6, 3, -2.0, 2.0)
    torch.testing.assert_close(basis(torch.linspace(-2, 2, 41)).sum(-1), torch.ones(41))
    assert basis(torch.tensor([-1e4, -4.1, 4.1, 1e4])).abs().max() == 0


@pytest.mark.parametrize(("centres", "low", "high"), [(2, -1.0, 1.0), (8, -2.0, 2.0)])
def test_gaussians_are_their_closed_form(centres: int, low: float, high: float) -> None:
    grid = np.linspace(low, high, centres)
    wanted = np.exp(-(((X[:, None] - grid) / (grid[1] - grid[0])) ** 2))
    np.testing.assert_allclose(RBF(centres, low, high).double()(torch.from_numpy(X)), wanted, atol=1e-13)


@pytest.mark.parametrize("degree", [1, 2, 5, 9])
def test_chebyshev_polynomials_are_cosines_of_multiples(degree: int) -> None:
    wanted = np.cos(np.arange(degree + 1) * np.arccos(np.tanh(X))[:, None])
    basis = Chebyshev(degree)
    assert basis.count == degree + 1
    np.testing.assert_allclose(basis(torch.from_numpy(X)), wanted, atol=1e-9)


def test_chebyshev_polynomials_have_gradients_where_tanh_saturates() -> None:
    x = torch.tensor([-60.0, 0.0, 60.0], requires_grad=True)
    Chebyshev(5)(x).sum().backward()
    assert x.grad is not None
    assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", entries("basis"))
@pytest.mark.parametrize("dim", [0, 1, 2, -2])
def test_the_functions_are_stacked_at_the_dimension_asked_for(name: str, dim: int) -> None:
    basis, x = entries("basis")[name].make(), torch.randn(2, 3, 4)
    torch.testing.assert_close(basis(x, dim=dim), basis(x).movedim(-1, dim))


@pytest.mark.parametrize(("name", "basis"), [("bspline", BSpline()), ("rbf", RBF())])
def test_the_grid_is_part_of_the_state(name: str, basis: torch.nn.Module) -> None:
    assert len(basis.state_dict()["centres"]) == basis.count


@pytest.mark.parametrize(
    "refused", [lambda: BSpline(0), lambda: BSpline(order=6), lambda: BSpline(low=1, high=1), lambda: RBF(1)]
)
def test_a_basis_without_functions_is_refused(refused: type[torch.nn.Module]) -> None:
    with pytest.raises(ValueError):
        refused()
