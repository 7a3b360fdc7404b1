from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from search_spaces.activations.product_gate import ProductGate


def reference(x: Any, w: Any, size: int) -> Any:
    y = x.copy()
    for c in range(x.shape[1]):
        start = c - c % size
        y[:, c] += w[c] * x[:, start : start + size].prod(1)
    return y


@pytest.mark.parametrize(("channels", "size"), [(6, 2), (6, 3), (5, 2), (7, 3)])
def test_the_product_of_the_group_is_added(
    channels: int, size: int, matches: Callable[..., None], shaken: Callable[..., nn.Module]
) -> None:
    activation = shaken(ProductGate(channels, size)).double()
    w = activation.get_parameter("weights").detach().numpy()
    matches(activation, lambda x: reference(x, w, size), channels=channels)


def test_it_starts_as_the_identity_whose_weights_have_a_gradient() -> None:
    activation, x = ProductGate(4), torch.tensor([[2.0, 3.0, -1.0, 5.0]])
    y = activation(x)
    assert torch.equal(y, x)
    y.sum().backward()
    assert activation.weights.grad is not None and activation.weights.grad.tolist() == [6, 6, -5, -5]


def test_a_product_of_one_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 channels, but got 1"):
        ProductGate(4, 1)
