from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.activations.matrix_relu import BANDS, KNOTS, MatrixReLU


def reference(x: Any, levels: Any) -> Any:
    """Build the matrix D(x) of each place entry by entry."""
    columns = np.moveaxis(x, 1, -1)
    y = np.empty_like(columns)
    for place in np.ndindex(columns.shape[:-1]):
        v = columns[place]
        matrix = np.zeros((len(v), len(v)))
        for band, offset in zip(levels, (0, 1, -1), strict=False):
            for row in range(len(v)):
                if 0 <= row + offset < len(v):
                    matrix[row, row + offset] = band[row, np.searchsorted(KNOTS, v[row + offset], side="left")]
        y[place] = matrix @ v
    return np.moveaxis(y, -1, 1)


@pytest.mark.parametrize("bands", BANDS)
def test_it_is_a_matrix_of_steps_times_x(
    bands: str, matches: Callable[..., None], shaken: Callable[..., nn.Module]
) -> None:
    activation = shaken(MatrixReLU(4, bands)).double()
    levels = activation.get_parameter("levels").detach().numpy()
    assert len(levels) == {"diagonal": 1, "tridiagonal": 3}[bands]
    matches(activation, lambda x: reference(x, levels), channels=4)


@pytest.mark.parametrize("bands", BANDS)
def test_at_the_start_it_is_relu(bands: str) -> None:
    x = torch.randn(3, 8, 4, 4, requires_grad=True)
    y, wanted = MatrixReLU(8, bands)(x), x.relu()
    torch.testing.assert_close(y, wanted)
    torch.testing.assert_close(*(torch.autograd.grad(out.sum(), x)[0] for out in (y, wanted)))


def test_a_knot_belongs_to_the_step_below_it() -> None:
    activation = MatrixReLU(1)
    activation.levels.data[:] = torch.arange(6.0)
    x = torch.tensor([[-3.0], [-2.0], [-1.5], [-1.0], [1.0], [1.5], [2.0], [2.5]])
    assert (activation(x) / x).flatten().tolist() == [0, 0, 1, 1, 3, 4, 4, 5]


def test_an_unknown_variant_is_refused() -> None:
    with pytest.raises(ValueError, match="one of diagonal, tridiagonal, but got 'full'"):
        MatrixReLU(4, "full")
