"""What networks cost, taken as predictors."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nas.scoring.baselines import BASELINES
from nas.training.measures import FORWARDS, WARM_UPS
from predictors import Batch, Unscorable
from search_spaces.registry import make

PARAMS, LATENCY, MEMORY = BASELINES
BATCH = Batch(torch.zeros(5, 3, 6, 5), torch.zeros(5, dtype=torch.long))
SEEN: list[tuple[int, bool, bool]] = []


class Telling(nn.Module):
    """Tells of each pass: samples, mode, gradients."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        SEEN.append((len(x), self.training, torch.is_grad_enabled()))
        return x


def test_params_are_the_trainable_weights_that_no_mask_holds_at_zero() -> None:
    """A convolution of 3·8·9 + 8, a frozen one, and a linear layer of which 1 in 4 weights of 240·10 are left."""
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(240, 10))
    network[1].requires_grad_(False)
    assert PARAMS(network, BATCH) == 224 + 2410
    make("sparsity", {"random": {"density": 0.25}})(network[3])
    assert PARAMS(network, BATCH) == 224 + 610


def test_memory_is_the_peak_of_one_sample_worked_out_by_hand() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(90, 8), nn.ReLU())
    assert MEMORY(network, BATCH) == 4 * (90 * 8 + 8) + 4 * 90 + 2 * 4 * 8


def test_latency_grows_with_the_work() -> None:
    small, large = (nn.Sequential(*[nn.Conv2d(3, 3, 3, padding=1) for _ in range(count)]) for count in (1, 40))
    assert 0 < 3 * LATENCY(small, BATCH) < LATENCY(large, BATCH)


@pytest.mark.parametrize(("baseline", "passes"), [(LATENCY, WARM_UPS + FORWARDS), (MEMORY, 1), (PARAMS, 0)])
def test_passes_are_of_one_sample_in_evaluation_mode_without_gradients(baseline: object, passes: int) -> None:
    SEEN.clear()
    network = Telling()
    assert callable(baseline) and baseline(network, BATCH) >= 0
    assert SEEN == [(1, False, False)] * passes and network.training


def test_their_cost_says_how_many_passes() -> None:
    assert f"{WARM_UPS + FORWARDS} forward passes" in LATENCY.cost
    assert all(each.cost and each.columns == (each.name,) and not each.labels for each in BASELINES)


def test_what_cannot_pass_is_declined() -> None:
    with pytest.raises(Unscorable, match="memory cannot score this network: "):
        MEMORY(nn.Linear(7, 3), BATCH)
