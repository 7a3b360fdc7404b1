from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nas.supernet.naming import places
from nas.supernet.slices import cut, fits, paste
from search_spaces.heads.grassmann_head import GrassmannHead
from search_spaces.layers.convolution import convolution
from search_spaces.layers.kan import KanLinear
from search_spaces.pools.average import Average
from search_spaces.pools.hopfield_pool import HopfieldPool
from search_spaces.registry import make

NARROW, WIDE = 8, 16


def test_a_slice_is_the_leading_part_of_every_slab() -> None:
    full = torch.arange(24).view(2, 12)
    assert cut(full, (1, 4), (1, 1)).tolist() == [[0, 1, 2, 3]]
    assert cut(full, (2, 6), (1, 3)).tolist() == [[0, 1, 4, 5, 8, 9], [12, 13, 16, 17, 20, 21]]
    assert cut(full.T, (6, 1), (3, 1)).flatten().tolist() == [0, 1, 4, 5, 8, 9]


def test_pasting_changes_the_slice_and_nothing_else() -> None:
    full = torch.zeros(2, 6)
    paste(torch.tensor([[1.0, 2.0]]), full, (1, 2))
    assert full.tolist() == [[1, 0, 0, 2, 0, 0], [0] * 6]


@pytest.mark.parametrize(
    ("full", "shape", "counts", "fit"),
    [
        ((4, 6), (4, 6), (1, 3), True),
        ((4, 6), (2, 3), (1, 3), True),
        ((4, 6), (5, 3), (1, 1), False),
        ((4, 6), (4, 4), (1, 3), False),
        ((4, 7), (4, 6), (1, 3), False),
        ((4, 6), (4,), (1,), False),
    ],
)
def test_what_fits(full: tuple[int, ...], shape: tuple[int, ...], counts: tuple[int, ...], fit: bool) -> None:
    assert fits(full, shape, counts) is fit


def widened(narrow: nn.Module, wide: nn.Module) -> nn.Module:
    """Return the wide module with the narrow one's parameters in their slices, and zeros outside."""
    own = dict(wide.named_parameters())
    with torch.no_grad():
        for place in places(narrow):
            own[place.name].zero_()
            paste(place.parameter, own[place.name], place.counts)
    return wide


def padded(x: Tensor) -> Tensor:
    return torch.cat([x, torch.zeros_like(x)], 1)


def both(maker: Callable[[int], nn.Module]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    narrow, wide = maker(NARROW), maker(WIDE)
    with torch.no_grad():
        for parameter in narrow.parameters():
            parameter.normal_(std=0.3)
    return narrow.eval(), widened(narrow, wide).eval()


MAPS = torch.randn(3, NARROW, 4, 4, generator=torch.Generator().manual_seed(1))
LAYERS: list[Any] = [
    "conv2d",
    "linear",
    {"depthwise_separable": {"kernel": 3}},
    {"parameter_free": {"kernel": 3}},
    {"kan_conv2d": {"basis": {"rbf": {"centres": 5}}}},
    {"kan_linear": {"basis": "chebyshev"}},
    {"kan_bottleneck_conv2d": {"basis": "rbf", "reduction": 2}},
    {"mbconv": {"expansion": 2, "squeeze": True}},
    {"ckconv": {"kernel": 7}},
    {"mlp_kan_moe": {"experts": 4}},
    {"wavemix": {"levels": 1}},
    {"wavemix": {"levels": 2}},
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_a_wide_layer_with_zeros_outside_the_slice_is_the_narrow_layer(layer: Any) -> None:
    narrow, wide = both(lambda width: make("layer", layer, width, width, 2.0))
    torch.testing.assert_close(wide(padded(MAPS))[:, :NARROW], narrow(MAPS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("layer", [{"subsampled_attention": {"keep": 1.0}}, {"kan_attention": {"basis": "fourier"}}])
def test_every_head_of_a_wide_attention_holds_the_same_head_of_the_narrow_one(layer: Any) -> None:
    narrow, wide = both(lambda width: make("layer", layer, width, width, 2.0))
    with torch.no_grad():
        for parameter in wide.query.parameters():  # type: ignore[union-attr]
            parameter.mul_((WIDE / NARROW) ** 0.5)  # attention divides by the root of a head's size
    torch.testing.assert_close(wide(padded(MAPS))[:, :NARROW], narrow(MAPS), atol=1e-5, rtol=1e-4)


def test_the_mixing_layer_of_a_dense_wiring_takes_slices_of_input_and_body() -> None:
    narrow, wide = both(lambda width: make("wiring", "dense", convolution(width, width, 3), width))
    torch.testing.assert_close(wide(padded(MAPS))[:, :NARROW], narrow(MAPS), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("head", [nn.Linear, KanLinear, GrassmannHead])
@pytest.mark.parametrize("queries", [1, 3, None])
def test_heads_take_slices_of_what_their_pool_gives(head: Any, queries: int | None) -> None:
    def maker(width: int) -> nn.Module:
        pool: Any = Average(width, (4, 4), 2) if queries is None else HopfieldPool(width, (4, 4), queries, beta=0.3)
        return nn.Sequential(pool, nn.Dropout(), head(pool.out_features, 5))

    narrow, wide = both(maker)
    torch.testing.assert_close(wide(padded(MAPS)), narrow(MAPS), atol=1e-5, rtol=1e-4)
