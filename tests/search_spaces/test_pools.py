import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from search_spaces.pools.average import Average
from search_spaces.pools.hopfield_pool import HopfieldPool
from search_spaces.registry import entries, make


@pytest.mark.parametrize("name", entries("pool"))
@pytest.mark.parametrize("size", [(1, 1), (2, 7), (8, 8)])
def test_a_pool_says_how_many_features_come_out(name: str, size: tuple[int, int]) -> None:
    pool = make("pool", name, 6, size)
    assert pool(torch.randn(3, 6, *size)).shape == (3, pool.out_features)


@pytest.mark.parametrize("cells", [1, 2, 4])
def test_averages_are_those_of_adaptive_pooling_where_it_is_even(cells: int) -> None:
    x = torch.randn(2, 3, 8, 4)
    pool = Average(3, (8, 4), cells)
    torch.testing.assert_close(pool(x), functional.adaptive_avg_pool2d(x, cells).flatten(1))
    assert pool.out_features == 3 * cells**2


def test_averages_of_an_uneven_size_by_hand() -> None:
    x = torch.arange(5.0).view(1, 1, 1, 5)
    assert Average(1, (1, 5), 2)(x).tolist() == [[1.0, 3.0]]


def test_hopfield_pooling_by_hand() -> None:
    torch.manual_seed(0)
    pool = HopfieldPool(3, (2, 2), queries=2).double()
    x = torch.randn(1, 3, 2, 2, dtype=torch.float64)
    places = x.numpy()[0].reshape(3, 4)
    key, value = (layer.weight.detach().numpy()[:, :, 0, 0] @ places for layer in (pool.key, pool.value))
    wanted = []
    for query in pool.queries.detach().numpy():
        shares = np.exp(query @ key / math.sqrt(3))
        wanted.append(value @ (shares / shares.sum()))
    np.testing.assert_allclose(pool(x)[0].detach().numpy(), np.concatenate(wanted))
    assert torch.autograd.gradcheck(pool, x.requires_grad_())


def test_a_hopfield_pool_averages_at_beta_zero_and_retrieves_one_place_at_a_large_beta() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 4, 3, 3)
    pool = HopfieldPool(4, (3, 3), beta=0.0)
    torch.testing.assert_close(pool(x), pool.value(x).mean((2, 3)))
    pool.beta = 1e4
    nearest = (pool.queries[0] @ pool.key(x).flatten(2)).argmax(1)
    retrieved = torch.stack([maps[:, place] for maps, place in zip(pool.value(x).flatten(2), nearest, strict=True)])
    torch.testing.assert_close(pool(x), retrieved)


def test_a_hopfield_pool_does_not_mind_the_order_of_places() -> None:
    x = torch.randn(2, 4, 3, 5)
    pool, order = HopfieldPool(4, (3, 5), queries=4), torch.randperm(15)
    torch.testing.assert_close(pool(x), pool(x.flatten(2)[..., order].view_as(x)))


@pytest.mark.parametrize(
    ("refused", "message"),
    [
        (lambda: Average(3, (4, 4), cells=0), "cells is 0, but"),
        (lambda: HopfieldPool(3, (4, 4), queries=0), "queries is 0, but"),
        (lambda: HopfieldPool(3, (4, 4), beta=-1), "beta is -1, but"),
    ],
)
def test_what_is_out_of_range_is_refused(refused: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        refused()  # type: ignore[operator]
