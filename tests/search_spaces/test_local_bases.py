from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.bases.rbf import RBF
from search_spaces.bases.relu_kan import ReLUKAN

X = np.linspace(-6, 6, 997) + 1e-4


@pytest.mark.parametrize(("centres", "low", "high"), [(2, -1.0, 1.0), (8, -2.0, 2.0)])
def test_gaussians_and_their_slopes_are_the_closed_form(centres: int, low: float, high: float) -> None:
    grid = np.linspace(low, high, centres)
    step = grid[1] - grid[0]
    offset = X[:, None] - grid
    basis = RBF(centres, low, high).double()
    wanted = np.exp(-((offset / step) ** 2))
    np.testing.assert_allclose(basis(torch.from_numpy(X)), wanted, atol=1e-13)
    np.testing.assert_allclose(basis.slopes(torch.from_numpy(X)), -2 * offset / step**2 * wanted, atol=1e-12)


@pytest.mark.parametrize(
    ("intervals", "order", "low", "high"), [(1, 0, 0.0, 1.0), (5, 3, -2.0, 2.0), (4, 2, -1.0, 3.0)]
)
def test_relu_kan_is_the_squared_product_of_its_relus(intervals: int, order: int, low: float, high: float) -> None:
    step = (high - low) / intervals
    starts = low + step * np.arange(-order, intervals)
    ends = starts + (order + 1) * step
    after, before = np.maximum(X[:, None] - starts, 0), np.maximum(ends - X[:, None], 0)
    norm = 4 / (ends - starts) ** 2
    basis = ReLUKAN(intervals, order, low, high).double()
    assert basis.count == intervals + order
    np.testing.assert_allclose(basis(torch.from_numpy(X)), (after * before * norm) ** 2, atol=1e-13)
    slopes = 2 * norm**2 * after * before * (before * (after > 0) - after * (before > 0))
    np.testing.assert_allclose(basis.slopes(torch.from_numpy(X)), slopes, atol=1e-12)


def test_relu_kan_peaks_in_the_middle_of_its_support_and_vanishes_at_its_ends() -> None:
    basis = ReLUKAN(4, 3)  # supports of length 4, the middles at -3, -2 .. 3
    middles = torch.arange(-3.0, 4.0)
    torch.testing.assert_close(basis(middles).diagonal(), torch.ones(7))
    torch.testing.assert_close(basis.slopes(middles).diagonal(), torch.zeros(7))
    for ends in (middles - 2, middles + 2):
        assert basis(ends).diagonal().abs().max() == 0
    assert basis(torch.tensor([-5.0, 5.0])).abs().max() == 0
    torch.testing.assert_close(basis(torch.tensor([1.0]))[0, 3].item(), 0.5625)  # (1 - (1/2)²)²


@pytest.mark.parametrize("basis", [RBF(6), ReLUKAN(5, 3)], ids=["rbf", "relu_kan"])
def test_second_derivatives_pass_gradcheck(basis: Any) -> None:
    x = torch.linspace(-1.93, 1.87, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(basis.double(), (x,))
    assert torch.autograd.gradcheck(basis.slopes, (x,))


@pytest.mark.parametrize("basis", [RBF(), ReLUKAN()], ids=["rbf", "relu_kan"])
def test_all_vanish_far_out(basis: Any) -> None:
    far = torch.tensor([-1e30, -1e4, 1e4, 1e30])
    assert basis(far).abs().max() == 0
    assert basis.slopes(far).abs().max() == 0


@pytest.mark.parametrize("basis", [RBF(5), ReLUKAN(5, 2)], ids=["rbf", "relu_kan"])
def test_the_grid_is_part_of_the_state_and_exact_in_half_precision(basis: Any) -> None:
    centres = basis.state_dict()["centres"].clone()
    assert len(centres) == basis.count
    assert torch.equal(basis.bfloat16().centres.float(), centres)


@pytest.mark.parametrize(
    "refused",
    [lambda: RBF(1), lambda: RBF(low=2), lambda: ReLUKAN(0), lambda: ReLUKAN(order=-1), lambda: ReLUKAN(high=-2)],
)
def test_a_grid_without_functions_is_refused(refused: Callable[[], nn.Module]) -> None:
    with pytest.raises(ValueError, match="no "):
        refused()
