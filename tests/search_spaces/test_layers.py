import math

import pytest
import torch
from torch import Tensor, nn

from search_spaces.layers.convolution import convolution, depthwise_separable
from search_spaces.layers.kan import KanConv2d, kan_bottleneck_conv2d
from search_spaces.registry import make


def test_kan_conv2d_is_a_sum_of_learned_functions_over_patches() -> None:
    """Every kernel entry is w_0·silu(x) + Σ_j w_j·exp(-((x - c_j)/h)²), summed by hand over the patches."""
    torch.manual_seed(0)
    channels, outputs, centres, side = 2, 3, 4, 4
    layer = KanConv2d(channels, outputs, 3, {"rbf": {"centres": centres}}).double()
    x = torch.randn(1, channels, side, side, dtype=torch.float64)
    weight = layer.convolution.weight.detach().view(outputs, 1 + centres, channels, 3, 3)
    grid = [-2 + 4 * j / (centres - 1) for j in range(centres)]

    def function(o: int, i: int, u: int, v: int, value: float) -> float:
        functions = [value / (1 + math.exp(-value)), *(math.exp(-(((value - c) / (4 / 3)) ** 2)) for c in grid)]
        return sum(float(weight[o, j, i, u, v]) * f for j, f in enumerate(functions))

    wanted = torch.zeros(outputs, side, side, dtype=torch.float64)
    for o in range(outputs):
        for row in range(side):
            for column in range(side):
                for u, v in ((u, v) for u in range(3) for v in range(3)):
                    r, c = row + u - 1, column + v - 1
                    if 0 <= r < side and 0 <= c < side:
                        wanted[o, row, column] += sum(
                            function(o, i, u, v, float(x[0, i, r, c])) for i in range(channels)
                        )
    torch.testing.assert_close(layer(x)[0].detach(), wanted)


@pytest.mark.parametrize("basis", [{"bspline": {}}, {"rbf": {}}, {"chebyshev": {}}])
@pytest.mark.parametrize("name", ["kan_conv2d", "kan_bottleneck_conv2d"])
def test_kan_layers_keep_the_variance_of_normal_inputs(name: str, basis: dict[str, object]) -> None:
    torch.manual_seed(0)
    x = torch.randn(4, 64, 16, 16)
    variance = make("layer", {name: {"basis": basis}}, 64, 64)(x)[..., 1:-1, 1:-1].var().item()
    assert 0.6 < variance < 1.5


@pytest.mark.parametrize("kernel", [3, 5])
def test_depthwise_separable_is_one_convolution_a_channel_and_then_a_mixture(kernel: int) -> None:
    torch.manual_seed(0)
    layer = depthwise_separable(4, 6, kernel)
    x = torch.randn(2, 4, 9, 7)
    (depthwise, pointwise) = (m for m in layer.modules() if isinstance(m, nn.Conv2d))
    each = [nn.functional.conv2d(x[:, [i]], depthwise.weight[[i]], padding=kernel // 2) for i in range(4)]
    wanted = torch.einsum("oi,nihw->nohw", pointwise.weight[:, :, 0, 0], torch.cat(each, 1))
    torch.testing.assert_close(layer(x), wanted, rtol=1e-4, atol=1e-5)


def test_a_convolution_after_a_relu_keeps_the_mean_square() -> None:
    torch.manual_seed(0)
    x: Tensor = torch.randn(8, 64, 16, 16)
    y = convolution(64, 64, 3)(x.relu())[..., 1:-1, 1:-1]
    assert y.square().mean().item() == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(("channels", "reduction", "inside"), [(16, 4, 4), (16, 2, 8), (3, 4, 1)])
def test_the_bottleneck_is_narrower_inside(channels: int, reduction: int, inside: int) -> None:
    layer = kan_bottleneck_conv2d(channels, channels, reduction=reduction)
    (kan,) = (m for m in layer.modules() if isinstance(m, KanConv2d))
    assert kan.convolution.out_channels == inside
