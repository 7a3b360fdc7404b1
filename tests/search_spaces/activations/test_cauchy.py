from collections.abc import Callable

import pytest
import torch

from search_spaces.activations.cauchy import Cauchy


def test_formula(matches: Callable[..., None]) -> None:
    activation = Cauchy(3).double()
    assert activation.scales.tolist() == pytest.approx([0.01, 0.01]) and activation.width.item() == 1
    activation.scales.data[:], activation.width.data[...] = torch.tensor([1.5, -0.5]), -0.8
    matches(activation, lambda x: (1.5 * x - 0.5) / (x**2 + 0.64), channels=3)


def test_a_width_of_zero_is_no_pole() -> None:
    activation = Cauchy(1)
    activation.width.data.zero_()
    x = torch.zeros(1, 1, requires_grad=True)
    y = activation(x)
    y.backward()
    assert y.item() == pytest.approx(0.01 / 0.01**2)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (x, *activation.parameters()))


def test_a_width_too_narrow_is_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 0\.01, but got 0\.001"):
        Cauchy(1, width=0.001)
