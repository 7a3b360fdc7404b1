"""How the activations are compared with a reference: value by NumPy in float64, gradient by finite differences."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call

Reference = Callable[[Any], Any]
SHAPES = [(5,), (2, 3, 2)]


def matches(activation: nn.Module, reference: Reference, channels: int = 1, tolerance: float = 1e-10) -> None:
    """Compare an activation with a reference, on vectors and on maps, near the origin and far out."""
    activation = activation.double()
    generator = torch.Generator().manual_seed(0)
    for batch, *places in SHAPES:
        x = torch.randn(batch, channels, *places, generator=generator, dtype=torch.float64) * 2
        for point in (x, x * 1000, torch.zeros_like(x)):
            got, wanted = activation(point).detach().numpy(), reference(point.numpy())
            np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)
        names, parameters = (
            zip(*activation.named_parameters(), strict=True) if list(activation.parameters()) else ((), ())
        )

        def output(x: Tensor, *values: Tensor, names: tuple[str, ...] = names) -> Any:
            return functional_call(activation, dict(zip(names, values, strict=True)), (x,))

        inputs = [x.requires_grad_(), *(p.detach().requires_grad_() for p in parameters)]
        assert torch.autograd.gradcheck(output, inputs)


@pytest.fixture(name="matches")
def _matches() -> Callable[..., None]:
    return matches


def shaken(activation: nn.Module, size: float = 0.3) -> nn.Module:
    """Move all parameters a little, each by its own amount, so that no two channels are alike."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in activation.parameters():
            parameter.add_(size * torch.randn(parameter.shape, generator=generator))
    return activation


@pytest.fixture(name="shaken")
def _shaken() -> Callable[..., nn.Module]:
    return shaken
