import pytest
import torch
from torch import nn

from search_spaces.bases.bspline import BSpline
from search_spaces.layers.kan import KanConv2d, KanLinear
from search_spaces.layers.regrid import adapt, adaptable, refine
from search_spaces.registry import make

GRID = torch.linspace(-2, 2, 201, dtype=torch.float64)


def linear(basis: nn.Module) -> KanLinear:
    torch.manual_seed(0)
    return KanLinear(1, 3, basis).double()


def test_a_grid_that_divides_the_old_one_changes_nothing() -> None:
    layer = linear(BSpline(5, 3))
    before = layer(GRID[:, None]).detach()
    for intervals in (10, 20):
        assert refine(layer, {"bspline": {"intervals": intervals, "order": 3, "grid": "uniform"}}) < 1e-12
        assert layer.basis.count == intervals + 3
        torch.testing.assert_close(layer(GRID[:, None]).detach(), before, atol=1e-12, rtol=0)


def test_the_error_that_is_returned_is_that_of_the_functions() -> None:
    old, new = BSpline(5, 3).double(), BSpline(7, 3).double()
    layer = linear(BSpline(5, 3))
    layer.linear.weight.data.zero_()
    for j in range(old.count):
        layer.linear.weight.data[:, 1 + j] = 1.0 if j == 4 else 0.0
    error = refine(layer, BSpline(7, 3))
    apart = (layer(GRID[:, None])[:, 0] - old(GRID)[:, 4]).abs().max().item()
    assert 0.001 < apart <= error + 1e-9 < 0.3
    assert new.count == layer.basis.count


@pytest.mark.parametrize("basis", [BSpline(40, 3), "rbf"])
def test_other_functions_come_near(basis: nn.Module | str) -> None:
    layer = linear(BSpline(5, 3))
    x = GRID[:, None]
    before, size = layer(x).detach(), layer.linear.weight.detach().abs().max()
    error = refine(layer, basis)
    assert (layer(x) - before).abs().max() < 8 * size * error + 1e-9


def test_a_refined_layer_trains_on_and_keeps_its_base_bias_and_kind() -> None:
    layer = KanConv2d(2, 3, basis=BSpline(5, 3))
    x = torch.rand(2, 2, 6, 6) * 3 - 1.5
    before = layer(x).detach()
    refine(layer, BSpline(10, 3))
    torch.testing.assert_close(layer(x), before, atol=1e-5, rtol=1e-4)
    assert layer.convolution.in_channels == 2 * (1 + 13) == layer.convolution.weight.shape[1]
    layer(x).sum().backward()
    assert layer.convolution.weight.grad is not None


def test_functions_that_are_trained_cannot_be_refined() -> None:
    for old, new in (("wavelet", "rbf"), ("rbf", "wavelet")):
        with pytest.raises(ValueError, match="trainable parameters cannot be refined"):
            refine(KanLinear(2, 2, old), new)


def test_adapting_places_the_grids_layer_after_layer_and_keeps_the_functions() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        KanLinear(2, 8, BSpline(20, 3, "quantile")), nn.Tanh(), KanLinear(8, 3, BSpline(20, 3, "quantile"))
    )
    uniform = KanLinear(2, 2, BSpline(5, 3))
    x = torch.rand(400, 2) * 2 - 1
    before = network(x).detach()
    assert adaptable(network) == [network[0], network[2]] and adaptable(uniform) == []
    adapt(network, x)
    torch.testing.assert_close(network(x), before, atol=0.02, rtol=0.02)
    first, second = network[0], network[2]
    assert isinstance(first, KanLinear) and isinstance(second, KanLinear)
    assert first.basis.span() == pytest.approx((x.min().item(), x.max().item()), abs=1e-6)
    reached = network[1](first(x))
    assert second.basis.span() == pytest.approx((reached.min().item(), reached.max().item()), abs=1e-5)
    weight, state = uniform.linear.weight.clone(), uniform.basis.centres.clone()
    adapt(uniform, x)
    assert torch.equal(uniform.linear.weight, weight) and torch.equal(uniform.basis.centres, state)


def test_inputs_that_are_all_alike_leave_the_grid() -> None:
    layer = KanLinear(2, 2, BSpline(5, 3, "quantile"))
    before = layer.basis.knots.clone()
    adapt(layer, torch.ones(10, 2))
    assert torch.equal(layer.basis.knots, before)


def test_weights_that_are_not_trained_stay_so_and_biases_stay() -> None:
    layer = linear(BSpline(5, 3))
    layer.linear.weight.requires_grad_(False)
    layer.linear.bias.data[:] = torch.tensor([1.0, -2.0, 3.0])
    base = layer.linear.weight[:, :1].clone()
    refine(layer, BSpline(10, 3))
    assert not layer.linear.weight.requires_grad and layer.linear.in_features == 1 + 13
    assert layer.linear.bias.tolist() == [1, -2, 3] and torch.equal(layer.linear.weight[:, :1], base)


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kernel_entry_is_carried_to_its_own_place(channels: int) -> None:
    """A wrong order of functions and channels would show with several channels only."""
    torch.manual_seed(0)
    layer = KanConv2d(channels, 2, kernel=3, basis=BSpline(5, 3)).double()
    x = 4 * torch.rand(2, channels, 5, 4, dtype=torch.float64) - 2
    before = layer(x).detach()
    for intervals in (10, 20):
        refine(layer, BSpline(intervals, 3))
        torch.testing.assert_close(layer(x).detach(), before, atol=1e-12, rtol=0)


def test_single_precision_is_kept_to_five_digits() -> None:
    torch.manual_seed(0)
    layer, x = KanLinear(3, 4, BSpline(5, 3)), 4 * torch.rand(50, 3) - 2
    before = layer(x).detach()
    for intervals in (10, 20):
        refine(layer, BSpline(intervals, 3))
        torch.testing.assert_close(layer(x).detach(), before, atol=1e-5, rtol=0)
    assert layer.linear.weight.dtype == torch.float32


def test_a_layer_without_a_base_branch_is_refined_and_adapted_too() -> None:
    torch.manual_seed(0)
    x = 4 * torch.rand(300, 2, dtype=torch.float64) - 2
    layer = KanLinear(2, 3, BSpline(5, 3), base=False).double()
    before = layer(x).detach()
    refine(layer, BSpline(10, 3))
    torch.testing.assert_close(layer(x).detach(), before, atol=1e-12, rtol=0)
    refine(layer, BSpline(20, 3, "quantile"))
    torch.testing.assert_close(layer(x).detach(), before, atol=1e-5, rtol=0)
    adapt(layer, x)
    torch.testing.assert_close(layer(x).detach(), before, atol=0.02, rtol=0)


def masked(density: float) -> KanLinear:
    torch.manual_seed(0)
    layer = KanLinear(4, 8, BSpline(20, 3, "quantile"))
    make("sparsity", {"random": {"density": density}})(layer)
    return layer


def test_a_mask_stays_and_the_functions_are_carried_to_the_weight_behind_it() -> None:
    x = torch.rand(400, 4) * 2 - 1
    for density in (0.5, 1.0):
        layer = masked(density)
        before, dead = layer(x).detach(), layer.linear.weight == 0
        stored = layer.linear.parametrizations.weight.original
        kept = stored.detach().clone()
        adapt(layer, x)
        assert not torch.equal(stored, kept) and torch.equal(layer.linear.weight == 0, dead)
        if density == 1:
            torch.testing.assert_close(layer(x), before, atol=0.02, rtol=0.02)


def test_a_layer_with_a_mask_cannot_be_refined() -> None:
    layer = masked(0.5)
    with pytest.raises(ValueError, match="has a mask cannot be refined"):
        refine(layer, BSpline(40, 3))
    assert layer.basis.count == 23 and layer.expansion.count == 24


def test_the_values_that_grids_are_placed_by_come_from_all_columns() -> None:
    """Maps of 16 channels of 32x32 are so large that evenly spaced values would all be of the first column."""
    torch.manual_seed(0)
    layer = KanConv2d(16, 2, kernel=1, basis=BSpline(4, 3, "quantile"))
    maps = torch.zeros(128, 16, 32, 32) + torch.linspace(-1, 1, 32)
    adapt(layer, maps)
    inside = layer.basis.knots[3:-3]
    torch.testing.assert_close(inside, torch.linspace(-1, 1, 5), atol=0.05, rtol=0)


def test_no_hook_is_left_even_by_a_network_that_fails() -> None:
    network = nn.Sequential(KanLinear(2, 2, BSpline(5, 3, "quantile")), nn.Linear(3, 1))
    with pytest.raises(RuntimeError):
        adapt(network, torch.randn(20, 2))
    assert not network[0]._forward_pre_hooks
