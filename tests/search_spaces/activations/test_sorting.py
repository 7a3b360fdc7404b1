from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from search_spaces.activations.sorting import GroupSort
from search_spaces.registry import make

KINDS: list[tuple[Any, int]] = [("maxmin", 2), ("groupsort", 4), ({"groupsort": {"size": 8}}, 8)]
every_kind = pytest.mark.parametrize(("kind", "size"), KINDS, ids=["maxmin", "groupsort4", "groupsort8"])


def reference(x: Any, size: int) -> Any:
    groups = [x[:, start : start + size] for start in range(0, x.shape[1], size)]
    return np.concatenate([-np.sort(-group, axis=1) for group in groups], 1)


@every_kind
@pytest.mark.parametrize("channels", [8, 7, 1, 11])
def test_groups_are_sorted_the_last_one_may_be_smaller(
    kind: Any, size: int, channels: int, matches: Callable[..., None]
) -> None:
    matches(make("activation", kind, channels), lambda x: reference(x, size), channels=channels)


def test_maxmin_is_maximum_and_minimum() -> None:
    y = make("activation", "maxmin", 5)(torch.tensor([[1.0, 3.0, 2.0, -1.0, 7.0]]))
    assert y.tolist() == [[3, 1, 2, -1, 7]]


@every_kind
def test_it_is_1_lipschitz_and_permutes(kind: Any, size: int) -> None:
    activation: nn.Module = make("activation", kind, 10)
    x = torch.randn(200, 10, dtype=torch.float64)
    near = x + torch.randn_like(x) * torch.logspace(-3, 1, 200, dtype=torch.float64)[:, None]
    change = (activation(x) - activation(near)).norm(dim=1)
    assert (change <= (x - near).norm(dim=1) * (1 + 1e-12)).all()
    assert torch.equal(activation(x).sort(1).values, x.sort(1).values)
    jacobian = torch.autograd.functional.jacobian(activation, x[:1])[0, :, 0]
    assert torch.equal(jacobian.sum(0), torch.ones(10)) and torch.equal(jacobian @ jacobian.T, torch.eye(10))


def test_groups_of_one_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 2 channels, but got 1"):
        GroupSort(4, 1)
