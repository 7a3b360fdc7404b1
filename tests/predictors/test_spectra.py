from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from predictors import Unscorable
from predictors.spectra import entropies, norms


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    rng = torch.Generator().manual_seed(seed)
    independent = torch.randn(*shape, generator=rng, dtype=torch.float64)
    mixed = independent @ torch.rand(shape[-1], shape[-1], generator=rng, dtype=torch.float64)
    return (mixed + torch.rand(shape[-1], generator=rng)).to(dtype)


def slow_entropy(rows: Any) -> float:
    """Of the covariance, channels by channels, entry by entry."""
    count, channels = rows.shape
    means = [sum(rows[n, i] for n in range(count)) / count for i in range(channels)]
    covariance = np.empty((channels, channels))
    for i, j in product(range(channels), repeat=2):
        covariance[i, j] = sum((rows[n, i] - means[i]) * (rows[n, j] - means[j]) for n in range(count)) / count
    shares = np.linalg.eigh(covariance)[0] / np.trace(covariance)
    return float(-sum(share * np.log(share) for share in shares if share > 1e-14))


def slow_norm(pairs: Sequence[tuple[Any, Any]]) -> float:
    return float(np.linalg.svd(sum(np.outer(before, after) for before, after in pairs) / len(pairs))[1][0])


@pytest.mark.parametrize(
    "shape", [(2, 3, 4, 5), (1, 9, 2, 3), (2, 3, 2, 2, 2)], ids=["maps", "more channels", "volumes"]
)
def test_the_entropy_of_maps_is_that_of_their_channels(shape: tuple[int, ...]) -> None:
    maps = drawn(*shape)
    rows = [maps[(n, slice(None), *place)].tolist() for n in range(shape[0]) for place in np.ndindex(shape[2:])]
    (found,) = entropies([maps])
    assert found == pytest.approx(slow_entropy(np.array(rows)), rel=1e-9)


@pytest.mark.parametrize("shape", [(3, 4, 5), (6, 5)], ids=["tokens", "vectors"])
def test_the_entropy_of_tokens_and_vectors_is_that_of_their_last_dimension(shape: tuple[int, ...]) -> None:
    assert entropies([drawn(*shape)]) == [pytest.approx(slow_entropy(drawn(*shape).reshape(-1, shape[-1]).numpy()))]


def test_single_precision_is_enough() -> None:
    exact, rounded = (entropies([drawn(4, 6, 8, 8, dtype=dtype)])[0] for dtype in (torch.float64, torch.float32))
    assert rounded == pytest.approx(exact, abs=1e-5)


def test_entropies_come_in_the_order_of_features_whatever_their_sizes() -> None:
    features = [drawn(2, c, 4, 4, seed=i) for i, c in enumerate((3, 5, 3, 4))]
    assert entropies(features) == pytest.approx([entropies([each])[0] for each in features])


def test_the_largest_entropy_is_that_of_equal_variances() -> None:
    corners = torch.eye(4).repeat(3, 1) * 2  # of a simplex, which has 3 dimensions
    assert entropies([corners])[0] == pytest.approx(np.log(3))


@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_constant_features_have_no_entropy(value: float) -> None:
    channels = torch.arange(1.0, 4.0).view(1, 3, 1, 1) * value
    assert entropies([channels.expand(5, 3, 7, 7)]) == [0.0]


def test_features_that_hardly_vary_have_their_entropy() -> None:
    varying = drawn(50, 3)
    assert entropies([1e3 + varying]) == pytest.approx(entropies([varying]))


def test_the_norm_of_gradients_at_the_same_places() -> None:
    before, after = drawn(2, 3, 4, 5), drawn(2, 6, 4, 5, seed=1)
    places = [(n, slice(None), *place) for n in range(2) for place in np.ndindex(4, 5)]
    expected = slow_norm([(before[place].numpy(), after[place].numpy()) for place in places])
    assert norms([(before, after)]) == [pytest.approx(expected)]
    assert norms([(after, before)]) == [pytest.approx(expected)]


@pytest.mark.parametrize("size", [(4, 6), (3, 5)])
def test_places_that_become_one_are_channels_of_one(size: tuple[int, int]) -> None:
    before, after = drawn(2, 3, *size), drawn(2, 5, 2, 3, seed=1)
    pairs = []
    for n, y, x in product(range(2), range(2), range(3)):
        gathered = [
            float(before[n, c, 2 * y + dy, 2 * x + dx]) if 2 * y + dy < size[0] and 2 * x + dx < size[1] else 0.0
            for c, dy, dx in product(range(3), range(2), range(2))
        ]
        pairs.append((gathered, after[n, :, y, x].numpy()))
    assert norms([(before, after)]) == [pytest.approx(slow_norm(pairs))]
    assert norms([(after, before)]) == [pytest.approx(slow_norm(pairs))]


def test_the_norm_of_gradients_of_tokens_and_vectors() -> None:
    before, after = drawn(3, 4, 5), drawn(3, 4, 2, seed=1)
    expected = slow_norm([(before[n, t].numpy(), after[n, t].numpy()) for n, t in np.ndindex(3, 4)])
    assert norms([(before, after)]) == [pytest.approx(expected)]
    assert norms([(before.flatten(0, 1), after.flatten(0, 1))]) == [pytest.approx(expected)]


def test_maps_and_tokens_of_as_many_places_are_compared() -> None:
    maps, tokens = drawn(2, 3, 2, 4), drawn(2, 8, 5, seed=1)
    assert norms([(maps, tokens)]) == norms([(maps.flatten(2).transpose(1, 2), tokens)])


def test_places_that_do_not_correspond_have_no_norm() -> None:
    fine, few = (drawn(2, 3, 4, 4), drawn(2, 3, 4, 4)), (drawn(2, 6, 3), drawn(2, 3, 3))
    crossed = (drawn(2, 3, 8, 2), drawn(2, 3, 2, 4))
    found = norms([few, fine, crossed, (drawn(2, 3, 2, 2), drawn(2, 5, 3))])
    assert found == [None, norms([fine])[0], None, None]


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_declined(value: float) -> None:
    spoilt = drawn(2, 3, 4, 4)
    spoilt[0, 0, 0, 0] = value
    with pytest.raises(Unscorable, match="the features of blocks have to be finite"):
        entropies([drawn(2, 3, 4, 4), spoilt])
    with pytest.raises(Unscorable, match="the gradients of blocks have to be finite"):
        norms([(spoilt, spoilt)])
