import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from search_spaces.activations.fitting import fit
from search_spaces.registry import make

CHANNELS = 5
X = np.linspace(-5, 5, 333)


def error(activation: nn.Module, wanted: np.ndarray) -> float:
    """Return the greatest error in any channel."""
    x = torch.from_numpy(X).float()[:, None, None].expand(-1, CHANNELS, 1)
    return float((activation.eval()(x).detach()[..., 0].double().numpy() - wanted[:, None]).__abs__().max())


def leaky(x: Tensor) -> Tensor:
    return functional.leaky_relu(x, 0.1)


def bump(x: Tensor) -> Tensor:
    return (0.5 * x + 0.2) / (x**2 + 1.5**2)


def quadratic(x: Tensor) -> Tensor:
    return 0.3 - 0.5 * x.relu() + 0.25 * x.relu() ** 2


@pytest.mark.parametrize(
    ("name", "function"),
    [("prelu", leaky), ("cauchy", bump), ("polyrelu", quadratic), ("crrelu", "relu"), ("mittag_leffler", "tanh")],
)
def test_what_an_activation_can_be_it_becomes(name: str, function: object) -> None:
    activation = make("activation", name, CHANNELS)
    left = fit(activation, function, CHANNELS)
    target = function if callable(function) else make("activation", function, 1)
    wanted = target(torch.from_numpy(X)).numpy()
    assert left < 1e-4
    assert error(activation, wanted) < 2e-4


@pytest.mark.parametrize(
    ("name", "function", "bound"),
    [
        ("rational", "gelu", 5e-3),
        ("group_rational", "tanh", 5e-4),
        ("polyrelu", "gelu", 0.15),
        ("cauchy", "tanh", 0.15),
    ],
)
def test_the_error_that_is_returned_is_what_is_left(name: str, function: str, bound: float) -> None:
    activation = make("activation", name, CHANNELS)
    left = fit(activation, function, CHANNELS)
    wanted = make("activation", function, 1)(torch.from_numpy(X)).numpy()
    assert error(activation, wanted) == pytest.approx(left, rel=0.05, abs=1e-4)
    assert left < bound


@pytest.mark.parametrize(
    ("name", "channels", "bound"),
    [("rational", 6, 5e-3), ("rational", 1, 5e-3), ("group_rational", 6, 5e-3), ("polyrelu", 4, 0.15)],
)
def test_as_many_channels_as_coefficients(name: str, channels: int, bound: float) -> None:
    assert fit(make("activation", name, channels), "gelu", channels) < bound


def test_known_coefficients_are_found() -> None:
    activation = make("activation", "prelu", CHANNELS)
    fit(activation, leaky, CHANNELS)
    (slopes,) = activation.parameters()
    assert slopes.tolist() == pytest.approx([0.1] * CHANNELS, abs=1e-6)
    assert slopes.requires_grad


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(ValueError, match="ReLU has no parameters to fit"):
        fit(nn.ReLU(), "gelu", CHANNELS)
    for name in ("gdn", "polynorm", "evonorm_s0", "product_gate"):
        with pytest.raises(ValueError, match="mixes its channels"):
            fit(make("activation", name, CHANNELS), "gelu", CHANNELS)
