import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline as SciPySpline

from search_spaces.bases.bspline import BSpline

X = np.linspace(-6, 6, 997) + 1e-4  # no point is a knot, where splines of order 1 have no slope
INPUTS = torch.randn(500, generator=torch.Generator().manual_seed(0)).double() ** 3
GRIDS = pytest.mark.parametrize("grid", ["uniform", "quantile"])


def scipy_splines(intervals: int, order: int, low: float, high: float) -> list[SciPySpline]:
    step = (high - low) / intervals
    knots = low + step * np.arange(-order, intervals + order + 1)
    return [SciPySpline.basis_element(knots[i : i + order + 2], extrapolate=False) for i in range(intervals + order)]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("intervals", "low", "high"), [(1, -1.0, 1.0), (5, -2.0, 2.0), (8, -2.0, 1.5)])
def test_bsplines_and_their_slopes_are_those_of_scipy(order: int, intervals: int, low: float, high: float) -> None:
    basis = BSpline(intervals, order, low=low, high=high).double()
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
    basis = BSpline(6, 3)
    torch.testing.assert_close(basis(torch.linspace(-2, 2, 41)).sum(-1), torch.ones(41))
    assert basis(torch.tensor([-1e4, -4.1, 4.1, 1e4])).abs().max() == 0


def placed(order: int, intervals: int = 6) -> BSpline:
    basis = BSpline(intervals, order, "quantile").double()
    basis.place(INPUTS)
    return basis


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_bsplines_on_uneven_knots_are_those_of_scipy(order: int) -> None:
    basis = placed(order)
    knots = basis.knots.numpy()
    x = np.concatenate([np.linspace(knots[0] - 1, knots[-1] + 1, 501), knots[order:-order] + 1e-9])
    values, slopes = basis.with_slopes(torch.from_numpy(x))
    for i in range(basis.count):
        spline = SciPySpline.basis_element(knots[i : i + order + 2], extrapolate=False)
        np.testing.assert_allclose(values[:, i], np.nan_to_num(spline(x)), atol=1e-12)
        np.testing.assert_allclose(slopes[:, i], np.nan_to_num(spline.derivative()(x)), atol=1e-9)


@pytest.mark.parametrize("order", [1, 3])
def test_knots_are_placed_at_the_quantiles_of_the_inputs_and_the_splines_sum_to_one_there(order: int) -> None:
    basis = placed(order)
    low, high = basis.span()
    assert low == pytest.approx(INPUTS.min()) and high == pytest.approx(INPUTS.max())
    inside = torch.linspace(low, high, 101, dtype=torch.float64)
    torch.testing.assert_close(basis(inside).sum(-1), torch.ones(101, dtype=torch.float64))
    quantiles = np.quantile(INPUTS, np.linspace(0, 1, 7))
    wanted = 0.98 * quantiles + 0.02 * np.linspace(low, high, 7)
    np.testing.assert_allclose(basis.knots[order:-order], wanted, atol=1e-9)
    steps = np.diff(basis.knots)
    np.testing.assert_allclose(steps[:order], steps[order])
    np.testing.assert_allclose(steps[-order:], steps[-1 - order])


def test_a_quantile_grid_starts_as_the_uniform_one() -> None:
    x = torch.linspace(-3.5, 3.5, 200)
    torch.testing.assert_close(BSpline(5, 3, "quantile")(x), BSpline(5, 3)(x), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("repeated", [torch.tensor([0.0] * 90 + [1.0] * 10), torch.tensor([-1e4, 0.0, 0.0, 1e4])])
def test_repeated_inputs_leave_finite_splines(repeated: torch.Tensor) -> None:
    basis = BSpline(5, 3, "quantile")
    basis.place(repeated)
    for dtype in (torch.float32, torch.bfloat16):
        values, slopes = basis.to(dtype).with_slopes(torch.tensor([-1e4, 0.0, 0.5, 1.0, 1e4], dtype=dtype))
        assert values.isfinite().all() and slopes.isfinite().all()


def test_what_cannot_be_placed_is_refused() -> None:
    with pytest.raises(ValueError, match='make the B-splines with grid="quantile"'):
        BSpline().place(torch.randn(9))
    with pytest.raises(ValueError, match="inputs that are all 2"):
        BSpline(grid="quantile").place(torch.full((9,), 2.0))
    with pytest.raises(ValueError, match="'even', but uniform or quantile is allowed"):
        BSpline(grid="even")


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_the_splines_that_are_looked_up_are_those_that_differ_from_zero(order: int) -> None:
    basis = BSpline(6, order).double()
    x = torch.cat([torch.linspace(-5, 5, 301), torch.tensor([-1e4, -2.0, 0.0, 2.0, 1e4])]).double()
    values, index = basis.local(x)
    assert values.shape == index.shape == (len(x), order + 1)
    dense = torch.zeros(len(x), basis.count, dtype=torch.float64).scatter_add(1, index, values)
    torch.testing.assert_close(dense, basis(x), atol=1e-13, rtol=0)


def test_only_uniform_grids_of_64_and_more_functions_are_looked_up() -> None:
    grids = {(61, "uniform"): True, (60, "uniform"): False, (100, "quantile"): False}
    assert {key: BSpline(key[0], 3, key[1]).prefers_local for key in grids} == grids


@GRIDS
def test_the_grid_is_part_of_the_state(grid: str) -> None:
    basis, other = BSpline(grid=grid), BSpline(grid=grid)
    if grid == "quantile":
        basis.place(INPUTS)
    other.load_state_dict(basis.state_dict())
    x = torch.linspace(-3, 3, 50)
    assert basis.state_dict() and torch.equal(basis(x), other(x)) and basis.span() == other.span()


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
@GRIDS
def test_values_at_the_knots_are_those_of_scipy(grid: str, order: int) -> None:
    """At the outermost knots of all a function is 0, whichever side SciPy counts them to."""
    basis = placed(order) if grid == "quantile" else BSpline(6, order).double()
    knots = basis.knots.numpy() if grid == "quantile" else -2 + 4 / 6 * np.arange(-order, 7 + order)
    values = basis(torch.from_numpy(knots))
    for i in range(basis.count):
        own = knots[i : i + order + 2]
        wanted = np.where((knots > own[0]) & (knots < own[-1]), SciPySpline.basis_element(own)(knots), 0)
        np.testing.assert_allclose(values[:, i], wanted, atol=1e-12)


@GRIDS
def test_slopes_are_the_derivatives_of_the_values(grid: str) -> None:
    basis = placed(3) if grid == "quantile" else BSpline(6, 3).double()
    x = torch.cat([torch.linspace(-4.9, 4.9, 60), torch.tensor([-1e4, 0.0, 1e4])]).double().requires_grad_()
    columns = [torch.autograd.grad(column.sum(), x, retain_graph=True)[0] for column in basis(x).unbind(-1)]
    torch.testing.assert_close(basis.slopes(x), torch.stack(columns, -1))
    assert torch.autograd.gradcheck(basis, (x.detach()[:60:3].requires_grad_(),))


@GRIDS
def test_half_precision_is_finite_far_out_and_near_single(grid: str) -> None:
    basis, x = BSpline(grid=grid), torch.tensor([-1e4, -2.0, -0.3, 0.0, 0.7, 2.0, 1e4])
    if grid == "quantile":
        basis.place(INPUTS)
    half = x.bfloat16().requires_grad_()
    values, slopes = basis.with_slopes(half)
    exact, exact_slopes = basis.with_slopes(half.detach().float())
    torch.testing.assert_close(values, exact.bfloat16())
    torch.testing.assert_close(slopes, exact_slopes.bfloat16())
    values.sin().sum().backward()
    assert half.grad is not None and half.grad.isfinite().all()
    assert values[[0, -1]].abs().max() == slopes[[0, -1]].abs().max() == 0


def test_what_is_looked_up_has_the_gradient_of_the_dense_functions() -> None:
    basis, weights = BSpline(70).double(), torch.randn(73, dtype=torch.float64)
    x = torch.cat([torch.linspace(-3, 3, 97), torch.tensor([-1e4, 1e4])]).double().requires_grad_()
    values, index = basis.local(x)
    found = torch.autograd.grad((values * weights[index]).sum(), x)
    torch.testing.assert_close(found, torch.autograd.grad((basis(x) @ weights).sum(), x))
    rounded, same = basis.local(x.detach().bfloat16())
    assert rounded.dtype == torch.bfloat16 and same.max() < basis.count and same.min() >= 0


def test_placing_is_a_matter_of_the_values_alone() -> None:
    """Order, shape, dtype and graph do not matter."""
    torch.manual_seed(0)
    once, again = BSpline(grid="quantile"), BSpline(grid="quantile")
    x = torch.randn(60, requires_grad=True)
    once.place(x)
    again.place(x.detach()[torch.randperm(60)].double().view(3, 4, 5))
    assert torch.equal(once.knots, again.knots) and not once.knots.requires_grad
    assert (once.knots.diff() > 0).all()


@pytest.mark.parametrize("refused", [lambda: BSpline(0), lambda: BSpline(order=6), lambda: BSpline(low=1, high=1)])
def test_a_basis_without_functions_is_refused(refused: type[torch.nn.Module]) -> None:
    with pytest.raises(ValueError):
        refused()
