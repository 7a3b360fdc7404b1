from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit
from torch import nn

from search_spaces.activations.evonorm import EvoNormB0, EvoNormS0


def spread(values: Any, x: Any) -> Any:
    return values.reshape(-1, *[1] * (x.ndim - 2))


def learned(activation: nn.Module) -> list[Any]:
    return [activation.get_parameter(name).detach().numpy() for name in ("v", "gamma", "beta")]


def s0(x: Any, v: Any, gamma: Any, beta: Any, groups: int) -> Any:
    members = x.reshape(len(x), groups, -1)
    std = np.sqrt(members.var(2) + 1e-5).repeat(x.shape[1] // groups, 1)
    std = std.reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    return x * expit(spread(v, x) * x) / std * spread(gamma, x) + spread(beta, x)


def b0(x: Any, v: Any, gamma: Any, beta: Any, variance: Any = None) -> Any:
    axes = (0, *range(2, x.ndim))
    batch_std = np.sqrt((x.var(axes) if variance is None else variance) + 1e-3)
    places = x.reshape(*x.shape[:2], -1).var(2)
    instance_std = np.sqrt(places + 1e-3).reshape(*x.shape[:2], *[1] * (x.ndim - 2))
    divisor = np.maximum(spread(batch_std, x), spread(v, x) * x + instance_std)
    return x / divisor * spread(gamma, x) + spread(beta, x)


def test_s0_is_its_formula(matches: Callable[..., None], shaken: Callable[..., nn.Module]) -> None:
    activation = shaken(EvoNormS0(6, groups=2)).double()
    matches(activation, lambda x: s0(x, *learned(activation), groups=2), channels=6)


@pytest.mark.parametrize(("channels", "groups"), [(64, 32), (48, 24), (16, 16), (37, 1), (7, 7)])
def test_s0_takes_32_groups_or_the_largest_number_below_that_divides(channels: int, groups: int) -> None:
    activation = EvoNormS0(channels)
    assert activation.groups == groups
    x = torch.randn(2, channels, 3, 3)
    wanted = s0(x.double().numpy(), *learned(activation), groups=groups)
    np.testing.assert_allclose(activation(x).detach(), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("places", [(), (1, 1)])
def test_s0_takes_one_group_where_a_group_would_be_a_single_number(places: tuple[int, ...]) -> None:
    x = torch.randn(3, 8, *places)
    wanted = s0(x.double().numpy(), *learned(EvoNormS0(8)), groups=1)
    np.testing.assert_allclose(EvoNormS0(8)(x).detach(), wanted, rtol=1e-5, atol=1e-6)


def test_b0_is_its_formula_in_training(matches: Callable[..., None], shaken: Callable[..., nn.Module]) -> None:
    activation = shaken(EvoNormB0(4)).double()
    matches(activation, lambda x: b0(x, *learned(activation)), channels=4)


def test_b0_evaluates_with_running_averages_that_only_training_moves(shaken: Callable[..., nn.Module]) -> None:
    activation = shaken(EvoNormB0(4)).double()
    x = torch.randn(3, 4, 5, 5, dtype=torch.float64) * torch.tensor([1.0, 2, 3, 4], dtype=torch.float64)[:, None, None]
    for _ in range(2):
        activation(x)
    variance = 0.81 * 1 + 0.19 * x.numpy().var((0, 2, 3))
    np.testing.assert_allclose(activation.get_buffer("running_var"), variance)
    activation.eval()
    for sample in (x, x[:1], 10 * x[1:]):
        wanted = b0(sample.numpy(), *learned(activation), variance=variance)
        np.testing.assert_allclose(activation(sample).detach(), wanted)
    np.testing.assert_allclose(activation.get_buffer("running_var"), variance)
    assert "running_var" in activation.state_dict()


def test_variances_are_worked_out_in_float32() -> None:
    x = (100 + torch.randn(2, 8, 16, 16)).bfloat16()
    for kind in (EvoNormS0, EvoNormB0):
        torch.testing.assert_close(kind(8)(x).float(), kind(8)(x.float()), rtol=1e-2, atol=1e-2)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 group, but got 0"):
        EvoNormS0(4, groups=0)
    with pytest.raises(ValueError, match="from 0 to 1, but got 2"):
        EvoNormB0(4, momentum=2)
