from typing import Any

import numpy as np
import pytest
import torch

from search_spaces.registry import make

X = torch.randn(4, 16, 5, 3, generator=torch.Generator().manual_seed(0)) * 3 + 2


def normalised(x: Any, axes: tuple[int, ...]) -> Any:
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("batch", (4, 16, 5, 3), (0, 2, 3)),
        ("group", (4, 8, 2, 5, 3), (2, 3, 4)),
        ("layer", (4, 16, 5, 3), (1, 2, 3)),
    ],
)
def test_norms_by_their_definition(name: str, shape: tuple[int, ...], axes: tuple[int, ...]) -> None:
    wanted = normalised(X.double().numpy().reshape(shape), axes).reshape(X.shape)
    np.testing.assert_allclose(make("norm", name, 16)(X).detach(), wanted, atol=1e-5)


def test_none_changes_nothing() -> None:
    assert make("norm", "none", 16)(X) is X


def test_the_groups_divide_the_channels() -> None:
    assert make("norm", "group", 12).num_groups == 6
