from collections.abc import Callable

import numpy as np
import pytest
import torch

from search_spaces.activations.thresholds import ShiftedReLU, SoftThreshold

SETTINGS = [(0.5, 1.0), (1.0, 1.5), (0.0, 0.5)]


@pytest.mark.parametrize(("tau", "m"), SETTINGS)
def test_shifted_relu(tau: float, m: float, matches: Callable[..., None]) -> None:
    matches(ShiftedReLU(1, tau, m), lambda x: np.minimum(np.maximum(x - tau, 0), m))


@pytest.mark.parametrize(("tau", "m"), SETTINGS)
def test_soft_threshold(tau: float, m: float, matches: Callable[..., None]) -> None:
    matches(SoftThreshold(1, tau, m), lambda x: np.sign(x) * np.minimum(np.maximum(np.abs(x) - tau, 0), m))


def test_the_share_of_zeros_is_that_of_the_docstring() -> None:
    z = torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    zeros = [(kind(1)(z) == 0).float().mean().item() for kind in (ShiftedReLU, SoftThreshold)]
    assert zeros == pytest.approx([0.69, 0.38], abs=0.01)


@pytest.mark.parametrize(("tau", "m"), [(-0.1, 1.0), (0.5, 0.0)])
def test_settings_out_of_range_are_refused(tau: float, m: float) -> None:
    for kind in (ShiftedReLU, SoftThreshold):
        with pytest.raises(ValueError, match=f"tau is at least 0 and magnitude above 0, but got {tau} and {m}"):
            kind(1, tau, m)
