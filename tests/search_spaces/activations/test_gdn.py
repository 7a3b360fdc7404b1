from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from search_spaces.activations.gdn import GDN


def reference(x: Any, beta: Any, gamma: Any) -> Any:
    y = np.empty_like(x)
    for i in range(x.shape[1]):
        y[:, i] = x[:, i] / np.sqrt(beta[i] + sum(gamma[i, j] * np.abs(x[:, j]) ** 2 for j in range(x.shape[1])))
    return y


def test_formula(matches: Callable[..., None], shaken: Callable[..., nn.Module]) -> None:
    activation = shaken(GDN(4)).double()
    roots = [activation.get_parameter(name).detach().numpy() for name in ("beta_root", "gamma_root")]
    matches(activation, lambda x: reference(x, roots[0] ** 2 + 1e-6, roots[1] ** 2), channels=4)


def test_the_start_divides_each_channel_by_itself() -> None:
    x = torch.randn(4, 6, 3, 3)
    torch.testing.assert_close(GDN(6)(x), x / (1 + 0.1 * x.square()).sqrt(), rtol=1e-4, atol=0)


def test_no_step_makes_the_denominator_vanish_and_no_parameter_is_stuck() -> None:
    activation = GDN(4)
    optimizer = torch.optim.SGD(activation.parameters(), lr=100.0)
    x = torch.randn(8, 4)
    for _ in range(5):
        optimizer.zero_grad()
        activation(x).sum().backward()
        assert all(p.grad is not None and (p.grad != 0).all() for p in activation.parameters())
        optimizer.step()
    with torch.no_grad():
        activation.beta_root.zero_()
        assert activation(torch.zeros(1, 4)).tolist() == [[0, 0, 0, 0]]
        assert activation(x).isfinite().all()
