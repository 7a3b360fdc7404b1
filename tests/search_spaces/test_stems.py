import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from search_spaces.registry import entries, make
from search_spaces.stems.convolution import image_convolution
from search_spaces.stems.fourier_features_kan import FourierFeaturesKan, FourierFeaturesStem


@pytest.mark.parametrize("name", entries("stem"))
@pytest.mark.parametrize(("stride", "sides"), [(1, (9, 10)), (2, (5, 5)), (4, (3, 3))])
def test_a_stem_divides_the_sides_by_its_stride(name: str, stride: int, sides: tuple[int, int]) -> None:
    assert make("stem", name, 3, 8, stride)(torch.randn(2, 3, 9, 10)).shape == (2, 8, *sides)


def test_the_series_of_coordinates_by_hand() -> None:
    torch.manual_seed(0)
    layer = FourierFeaturesKan(2, 3, frequencies=2).double()
    x = torch.randn(4, 2, dtype=torch.float64)
    a, b = (p.detach().numpy().reshape(3, 2, 2) for p in (layer.cosines, layer.sines))
    wanted = np.zeros((4, 3))
    for n, o, d, k in np.ndindex(4, 3, 2, 2):
        phase = (k + 1) * x[n, d].item()
        wanted[n, o] += a[o, d, k] * math.cos(phase) + b[o, d, k] * math.sin(phase)
    np.testing.assert_allclose(layer(x).detach().numpy(), wanted)
    assert layer(x.view(2, 2, 2)).shape == (2, 2, 3)
    assert torch.autograd.gradcheck(layer, x.requires_grad_())


def test_the_coefficients_start_with_variance_one_over_dimensions_times_frequencies() -> None:
    torch.manual_seed(0)
    values = FourierFeaturesKan(3, 4096, frequencies=16)(torch.tensor([[0.0, 0.0, 0.0], [1.0, -0.3, 7.0]]))
    assert values.var(1).tolist() == pytest.approx([1, 1], rel=0.1)


def test_the_series_learns_a_periodic_signal_exactly() -> None:
    """The linear least-squares fit of sin 3x - cos x has no error, for both are among the functions."""
    x = torch.linspace(-3, 3, 50)[:, None]
    layer = FourierFeaturesKan(1, 6, frequencies=3)
    with torch.no_grad():
        layer.cosines.copy_(torch.eye(6)[:, :3])
        layer.sines.copy_(torch.eye(6)[:, 3:])
    target = (3 * x).sin() - x.cos()
    found = torch.linalg.lstsq(layer(x).detach(), target).solution.flatten()
    torch.testing.assert_close(found, torch.tensor([-1.0, 0, 0, 0, 0, 1]), atol=1e-4, rtol=0)


@pytest.mark.parametrize(("size", "corners"), [((5, 9), 1.0), ((1, 1), 0.0)])
def test_the_stem_adds_a_series_of_the_coordinates_to_the_convolution(size: tuple[int, int], corners: float) -> None:
    stem, x = FourierFeaturesStem(3, 4, stride=1), torch.randn(2, 3, *size)
    (convolution,) = (m for m in stem.modules() if isinstance(m, nn.Conv2d))
    added = stem(x) - functional.conv2d(x, convolution.weight, convolution.bias, padding=1)
    torch.testing.assert_close(added[0], added[1], atol=1e-5, rtol=1e-4)
    first, last = stem.position(torch.tensor([[-corners, -corners], [corners, corners]]))
    torch.testing.assert_close(added[0, :, 0, 0], first, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(added[0, :, -1, -1], last, atol=1e-5, rtol=1e-4)
    middle = added[0, :, size[0] // 2, size[1] // 2]
    torch.testing.assert_close(middle, stem.position(torch.zeros(2)), atol=1e-5, rtol=1e-4)


def test_a_stem_keeps_the_variance_of_normal_images() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 16, 16, 16)
    assert image_convolution(16, 64)(x)[..., 1:-1, 1:-1].var().item() == pytest.approx(1, rel=0.15)
    assert FourierFeaturesStem(16, 64)(x)[..., 1:-1, 1:-1].var().item() == pytest.approx(2, rel=0.25)


def test_too_few_frequencies_are_refused() -> None:
    with pytest.raises(ValueError, match="frequencies is 0, but a whole number from 1 up is allowed"):
        FourierFeaturesKan(2, 3, frequencies=0)
