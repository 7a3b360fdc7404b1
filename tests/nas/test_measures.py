from __future__ import annotations

import time

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from nas.tasks.digits import Digits
from nas.training.measures import FORWARDS, WARM_UPS, LiveStorages, measure
from predictors import flops


class Small:
    input_shape = (3, 6, 5)
    classes = 10


class Vector:
    input_shape = (1, 1, 4)
    classes = 2


class Counting(nn.Module):
    calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        time.sleep(0.001)
        assert not self.training
        return x


def test_flops_of_a_convolution_and_a_linear_are_those_counted_by_hand() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(240, 10))
    assert measure(["flops"], network, Small) == {"flops": 2 * (8 * 6 * 5) * (3 * 3 * 3) + 2 * 240 * 10}


def test_flops_of_a_grouped_convolution_count_its_groups() -> None:
    network = nn.Conv2d(3, 6, 3, stride=2, padding=1, groups=3)
    assert measure(["flops"], network, Small) == {"flops": 2 * (6 * 3 * 3) * (1 * 3 * 3)}


class Attention(nn.Module):
    """Attention among the rows of an input, in one head."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.scaled_dot_product_attention(x, 2 * x, 3 * x)


@pytest.mark.parametrize("backend", [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH])
def test_flops_of_attention_are_those_of_two_matrix_products_fused_or_not(backend: SDPBackend) -> None:
    """A query meets every key over the 5 entries of a row, and the result every value: 2 · 2 · 6 · 6 · 5 each time."""
    with sdpa_kernel(backend):
        assert measure(["flops"], Attention(), Small) == {"flops": 3 * 2 * 2 * 6 * 6 * 5}


def test_flops_of_an_encoder_layer_are_not_hidden_by_its_fast_path() -> None:
    layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
    # Four projections of 4 x 4, two products of 6 x 6 x 4, and the maps 4 to 8 and 8 to 4, for 6 tokens.
    by_hand = 2 * (6 * 4 * 4 * 4 + 2 * 6 * 6 * 4 + 2 * 6 * 4 * 8)
    assert (
        flops.count(layer.eval(), torch.randn(1, 6, 4)) == flops.count(layer.train(), torch.randn(1, 6, 4)) == by_hand
    )
    with torch.no_grad():
        assert flops.count(layer.eval(), torch.randn(1, 6, 4)) == by_hand
    assert torch.backends.mha.get_fastpath_enabled()


def test_flops_are_measured_quickly() -> None:
    blocks = [
        nn.Sequential(nn.Conv2d(16 if i else 1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU()) for i in range(8)
    ]
    network = nn.Sequential(*blocks)
    measure(["flops"], network, Digits())
    start = time.process_time()
    for _ in range(10):
        measure(["flops"], network, Digits())
    assert (time.process_time() - start) / 10 < 0.1


def test_memory_is_the_peak_worked_out_by_hand() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    weights, sample, hidden = 4 * (4 * 8 + 8 + 8 * 2 + 2), 4 * 4, 4 * 8
    assert measure(["memory"], network, Vector) == {"memory": weights + sample + 2 * hidden}


def test_memory_counts_buffers_and_shared_weights_once() -> None:
    tied = nn.Linear(4, 4, bias=False)
    network = nn.Sequential(tied, tied)
    network.register_buffer("table", torch.zeros(100))
    row = 4 * 4
    assert measure(["memory"], network, Vector) == {"memory": 4 * 16 + 400 + 3 * row}


def test_memory_is_the_same_each_time() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.GELU(), nn.AdaptiveAvgPool2d(1))
    assert len({measure(["memory"], network, Small)["memory"] for _ in range(5)}) == 1


def test_views_and_in_place_work_take_no_memory_and_freed_tensors_give_it_back() -> None:
    with LiveStorages() as live:
        first = torch.zeros(100)
        second = first.view(10, 10).t()
        second.relu_()
        assert (live.now, live.peak) == (400, 400)
        third = first + 1
        del first, second
        assert (live.now, live.peak) == (400, 800)
        del third
        assert live.now == 0


def test_latency_is_the_median_of_many_forwards_in_eval_mode() -> None:
    network = Counting()
    network.train()
    assert 1 <= measure(["latency"], network, Small)["latency"] < 10
    assert network.calls == WARM_UPS + FORWARDS and network.training


def test_only_what_is_asked_is_measured() -> None:
    network = Counting()
    assert measure([], network, Small) == {} and network.calls == 0


def test_params_are_the_live_ones() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, 2))
    assert measure(["params"], network, Small) == {"params": 8 * 27 + 8 + 16 + 18}


def test_what_needs_training_is_refused() -> None:
    with pytest.raises(ValueError, match="'accuracy' is not measured on a built network"):
        measure(["accuracy"], nn.Identity(), Small)


def test_rows_that_are_looked_up_are_counted() -> None:
    """Of a fine grid, four splines and the base branch of each input are multiplied with every output."""
    from search_spaces.bases.bspline import BSpline
    from search_spaces.layers.kan import KanConv2d

    class Shape:
        input_shape, classes = (3, 8, 8), 10

    network = torch.nn.Sequential(KanConv2d(3, 5, kernel=1, basis=BSpline(64, 3)))
    assert measure(["flops"], network, Shape())["flops"] == 2 * 64 * 3 * 5 * 5
