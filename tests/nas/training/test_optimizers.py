"""Optimizers that go on with other hyperparameters, against the published update rules in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from nas.training.optimizers import follow, make_optimizer, restore
from nas.training.recipe import Recipe

RATE = 0.05


def sgd(momentum: float, decay: float) -> Recipe:
    return Recipe(("sgd", {"rate": RATE, "momentum": momentum, "weight_decay": decay}))


def adamw(decay: float) -> Recipe:
    return Recipe(("adamw", {"rate": RATE, "weight_decay": decay}))


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2)).double()


def gradients(net: nn.Module, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in net.parameters()]
    for p, gradient in zip(net.parameters(), found, strict=True):
        p.grad = gradient.clone()
    return found


def stepped(recipe: Recipe) -> tuple[nn.Module, torch.optim.Optimizer]:
    """A network after one step."""
    net = network()
    optimizer = make_optimizer(net, recipe)
    gradients(net, 0)
    optimizer.step()
    return net, optimizer


def forked(net: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.Optimizer:
    """What a fork does: a new optimizer takes over the old one's memory."""
    fresh = make_optimizer(net, recipe)
    restore(fresh, optimizer.state_dict())
    return fresh


def changed(net: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe) -> torch.optim.Optimizer:
    """What a schedule's segment does: the same optimizer goes on with other hyperparameters."""
    follow(optimizer, recipe)
    return optimizer


@pytest.mark.parametrize("go_on", [forked, changed])
@pytest.mark.parametrize("momentum", [0.3, 0.0])
def test_sgd_goes_on_with_its_velocity_and_the_new_momentum_and_decay(go_on: Any, momentum: float) -> None:
    """v <- m v + g + d p;  p <- p - rate (g + d p + m v) (Nesterov), where d is 0 for biases."""
    net, optimizer = stepped(sgd(0.9, 0.2))
    velocity = [optimizer.state[p]["momentum_buffer"].clone() for p in net.parameters()]
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = go_on(net, optimizer, sgd(momentum, 0.07))
    slopes = gradients(net, 1)
    optimizer.step()
    for p, old, v, g in zip(net.parameters(), before, velocity, slopes, strict=True):
        slope = g + (0.07 if p.ndim > 1 else 0.0) * old
        v = momentum * v + slope
        torch.testing.assert_close(p.detach(), old - RATE * (slope + momentum * v), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("go_on", [forked, changed])
def test_adamw_goes_on_with_its_moments_its_count_and_the_new_decay(go_on: Any) -> None:
    """Loshchilov and Hutter, 2019, with betas 0.9 and 0.999: the second step, bias-corrected for two."""
    net, optimizer = stepped(adamw(0.2))
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = go_on(net, optimizer, adamw(0.9))
    slopes = gradients(net, 1)
    optimizer.step()
    first = gradients(network(), 0)
    for p, old, g0, g1 in zip(net.parameters(), before, first, slopes, strict=True):
        mean = (0.9 * 0.1 * g0 + 0.1 * g1) / (1 - 0.9**2)
        square = (0.999 * 0.001 * g0**2 + 0.001 * g1**2) / (1 - 0.999**2)
        decayed = old * (1 - RATE * (0.9 if p.ndim > 1 else 0.0))
        torch.testing.assert_close(p.detach(), decayed - RATE * mean / (square.sqrt() + 1e-8), rtol=1e-9, atol=1e-12)


def test_a_momentum_that_begins_later_begins_at_rest() -> None:
    net, optimizer = stepped(sgd(0.0, 0.0))
    before = [p.detach().clone() for p in net.parameters()]
    follow(optimizer, sgd(0.5, 0.0))
    slopes = gradients(net, 1)
    optimizer.step()
    for p, old, g in zip(net.parameters(), before, slopes, strict=True):
        torch.testing.assert_close(p.detach(), old - RATE * (g + 0.5 * g), rtol=1e-12, atol=1e-12)
