"""The rational activations: fits, groups, where the channels are, sharing, and the layer of KAT."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import erf
from torch import nn
from torch.nn import functional

from nas.training.weights import load_weights, read_weights, save_weights
from search_spaces.activations.rational import Rational, group_rational
from search_spaces.activations.rational_fit import fit, targets
from search_spaces.activations.rational_table import COEFFICIENTS
from search_spaces.activations.recurrent_rational import RecurrentRational, share
from search_spaces.layers.group_kan import group_kan_linear
from search_spaces.registry import make

KNOWN: dict[str, Any] = {
    "silu": (lambda x: x / (1 + np.exp(-x)), 1e-4),
    "gelu": (lambda x: x / 2 * (1 + erf(x / math.sqrt(2))), 4e-3),
    "relu": (lambda x: np.where(x > 0, x, 0), 6e-2),
    "tanh": (np.tanh, 1e-4),
    "identity": (lambda x: x, 1e-4),
    "mish": (lambda x: x * np.tanh(np.log1p(np.exp(x))), 3e-3),
    "elu": (lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1), 2e-3),
    "softplus": (lambda x: np.log1p(np.exp(x)), 2e-4),
}


def reference(x: Any, a: Any, b: Any) -> Any:
    return sum(a[i] * x**i for i in range(6)) / (1 + sum(abs(b[i - 1]) * abs(x) ** i for i in range(1, 5)))


def test_rational_is_its_formula_with_gradients_that_finite_differences_confirm() -> None:
    rng = np.random.default_rng(0)
    a, b, x = rng.normal(size=6), rng.normal(size=4), rng.normal(size=(2, 3, 4)) * 3
    activation = Rational(3).double()
    activation.numerator.data[:] = torch.from_numpy(a)
    activation.denominator.data[:] = torch.from_numpy(b)
    point = torch.from_numpy(x).requires_grad_()
    np.testing.assert_allclose(activation(point).detach(), reference(x, a, b), rtol=1e-12)
    activation(point).sum().backward()

    def slope(i: int, wanted: Any) -> float:
        step = np.eye(len(wanted))[i] * 1e-6
        sides = [(wanted + sign * step) for sign in (1, -1)]
        values = [reference(x, s, b) if wanted is a else reference(x, a, s) for s in sides]
        return float((values[0] - values[1]).sum() / 2e-6)

    assert activation.numerator.grad is not None and activation.denominator.grad is not None
    assert point.grad is not None
    assert activation.numerator.grad[0].tolist() == pytest.approx([slope(i, a) for i in range(6)], rel=1e-5)
    assert activation.denominator.grad[0].tolist() == pytest.approx([slope(i, b) for i in range(4)], rel=1e-5)
    np.testing.assert_allclose(
        point.grad, (reference(x + 1e-6, a, b) - reference(x - 1e-6, a, b)) / 2e-6, rtol=1e-4, atol=1e-6
    )


@pytest.mark.parametrize("name", KNOWN)
def test_a_fitted_rational_is_near_its_function(name: str) -> None:
    function, bound = KNOWN[name]
    x = np.linspace(-5, 5, 601)
    got = make("activation", {"rational": {"init": name}}, 1)(torch.from_numpy(x)[:, None])[:, 0]
    assert np.abs(got.detach().numpy() - function(x)).max() < bound


def test_every_tabled_function_is_tested_here() -> None:
    assert set(COEFFICIENTS) == set(KNOWN)


@pytest.mark.parametrize("name", KNOWN)
def test_the_table_is_what_the_fit_finds(name: str) -> None:
    x = np.linspace(-5, 5, 501)
    tabled, found = COEFFICIENTS[name], fit(targets()[name])
    np.testing.assert_allclose(reference(x, *map(np.array, tabled)), reference(x, *map(np.array, found)), atol=1e-5)


def test_no_coefficient_of_a_fitted_denominator_is_stuck_at_zero() -> None:
    assert all(b > 0 for _, denominator in COEFFICIENTS.values() for b in denominator)


@pytest.mark.parametrize(("init", "bound"), [(torch.sin, 2e-3), (nn.Hardswish(), 8e-2), (functional.silu, 1e-4)])
def test_any_function_can_be_started_from(init: Any, bound: float) -> None:
    x = torch.linspace(-5, 5, 601)[:, None]
    assert (Rational(1, init=init)(x) - init(x)).abs().max() < bound


def test_an_unknown_start_is_refused() -> None:
    with pytest.raises(ValueError, match=r"init is 'swish', but silu, gelu, relu, .* or a function is allowed"):
        Rational(4, init="swish")


def test_each_group_of_channels_has_its_own_function() -> None:
    activation = group_rational(12, groups=4)
    assert isinstance(activation, Rational)
    activation.denominator.data.zero_()
    activation.numerator.data.zero_()
    activation.numerator.data[:, 1] = torch.tensor([1.0, 2.0, 3.0, 4.0])
    for x in (torch.randn(2, 12), torch.randn(2, 12, 5, 3)):
        factors = torch.tensor([1.0, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]).view(1, 12, *[1] * (x.ndim - 2))
        torch.testing.assert_close(activation(x), x * factors)


def test_the_channels_of_tokens_come_last() -> None:
    tokens, maps = group_rational(12, groups=4, dim=-1), group_rational(12, groups=4)
    for parameter in tokens.parameters():
        nn.init.normal_(parameter)
    maps.load_state_dict(tokens.state_dict())
    x = torch.randn(2, 5, 12)
    torch.testing.assert_close(tokens(x), maps(x.mT).mT)


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (12, 6), (20, 5), (7, 7), (11, 1)])
def test_the_groups_are_the_largest_number_up_to_eight_that_divides_the_channels(channels: int, groups: int) -> None:
    assert len(next(group_rational(channels).parameters())) == groups


def test_groups_that_do_not_divide_are_refused() -> None:
    for groups in (8, 0):
        with pytest.raises(ValueError, match=f"{groups} groups do not divide 12 channels"):
            Rational(12, groups=groups)
    with pytest.raises(ValueError, match="groups is 0, but 1 or more is allowed"):
        group_rational(12, groups=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_large_inputs_do_not_overflow_in_half_precision(dtype: torch.dtype) -> None:
    x = torch.tensor([[-60.0, -10.0, 10.0, 60.0]])
    y = Rational(4)(x.to(dtype))
    assert y.dtype == dtype
    torch.testing.assert_close(y.float(), Rational(4)(x), rtol=1e-2, atol=0)


def recurrent() -> nn.Module:
    """Return a network with three recurrent rationals, one of them deep inside."""
    network = nn.Sequential(
        nn.Linear(4, 8),
        RecurrentRational(8, "gelu"),
        nn.Sequential(nn.Linear(8, 6), nn.Sequential(RecurrentRational(6))),
        RecurrentRational(6, "tanh"),
        nn.Linear(6, 2),
    )
    share(network)
    return network


def test_recurrent_rationals_become_one_module() -> None:
    network = recurrent()
    assert network[1] is network[2][1][0] is network[3]
    assert sum(parameter.numel() for parameter in network.parameters()) == (4 + 1) * 8 + (8 + 1) * 6 + (6 + 1) * 2 + 10
    names = [name for name in network.state_dict() if name.endswith("numerator")]
    assert names == ["1.rational.numerator", "2.1.0.rational.numerator", "3.rational.numerator"]


def test_the_gradient_of_a_shared_rational_is_the_sum_over_its_places() -> None:
    network = recurrent()
    x = torch.randn(5, 4)
    network(x).sin().sum().backward()
    shared, apart = network[1].rational, recurrent()
    apart.load_state_dict(network.state_dict())
    places = [(apart, 1), (apart[2][1], 0), (apart, 3)]
    copies = []
    for place, i in places:
        place[i] = RecurrentRational(8)
        place[i].load_state_dict(network[1].state_dict())
        copies.append(place[i].rational)
    apart(x).sin().sum().backward()
    torch.testing.assert_close(shared.numerator.grad, sum(copy.numerator.grad for copy in copies))
    torch.testing.assert_close(shared.denominator.grad, sum(copy.denominator.grad for copy in copies))


def test_an_optimizer_steps_a_shared_rational_once() -> None:
    network = recurrent()
    shared = network[1].rational.numerator
    before = shared.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    network(torch.randn(5, 4)).sum().backward()
    optimizer.step()
    torch.testing.assert_close(shared.detach(), before - 0.1 * shared.grad)


def test_weights_of_a_shared_rational_are_saved_and_loaded(tmp_path: Path) -> None:
    network, other, x = recurrent(), recurrent(), torch.randn(5, 4)
    nn.init.normal_(network[1].rational.numerator)
    save_weights(network, tmp_path / "weights.safetensors", {})
    load_weights(other, read_weights(tmp_path / "weights.safetensors")[0], tmp_path)
    assert torch.equal(other(x), network(x)) and other[1] is other[3]


def test_sharing_in_a_network_without_recurrent_rationals_changes_nothing() -> None:
    network = nn.Sequential(nn.Linear(2, 2), Rational(2), Rational(2))
    share(network)
    assert network[1] is not network[2]


def test_the_layer_is_rational_functions_then_a_linear_map() -> None:
    torch.manual_seed(0)
    layer = group_kan_linear(4, 3, groups=2)
    assert isinstance(layer, nn.Sequential)
    rational, linear = layer
    x = torch.randn(2, 4, 3, 5)
    a, b = (each.detach().double().numpy() for each in (rational.numerator[0], rational.denominator[0]))
    mapped = np.einsum("oi,nihw->nohw", linear.weight.detach()[:, :, 0, 0].numpy(), reference(x.numpy(), a, b))
    np.testing.assert_allclose(layer(x).detach(), mapped, rtol=1e-4, atol=1e-5)
    assert rational.groups == 2 and not linear.bias.any()


@pytest.mark.parametrize(
    ("init", "gain", "wanted"), [("silu", 1.0, 2.8178), ("gelu", 1.0, 2.3568), ("identity", 2.0, 2.0)]
)
def test_the_weights_of_the_layer_start_at_the_gain_of_its_function(init: str, gain: float, wanted: float) -> None:
    torch.manual_seed(0)
    layer = group_kan_linear(256, 1024, gain, init=init)
    assert isinstance(layer, nn.Sequential)
    assert layer[1].weight.var().item() * 256 == pytest.approx(wanted, rel=0.01)


def second_moment_after(layers: int, width: int) -> float:
    """Return the second moment after stacked layers, identity and swish in turn as in the blocks of KAT."""
    x = torch.randn(64, width, 1, 1)
    with torch.no_grad():
        for i in range(layers):
            x = make("layer", {"group_kan_linear": {"init": ("identity", "silu")[i % 2]}}, width, width, 1.0)(x)
    return x.square().mean().item()


def test_twenty_layers_keep_the_second_moment() -> None:
    torch.manual_seed(0)
    assert 0.5 < second_moment_after(20, 512) < 2
