import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from search_spaces.moments import gain, second_moment
from search_spaces.registry import make

CLOSED: list[tuple[str, Callable[[Tensor], Tensor], float]] = [
    ("identity", lambda z: z, 1),
    ("relu", torch.relu, 1 / 2),
    ("square", torch.square, 3),
    ("cube", lambda z: z**3, 15),
    ("constant", torch.ones_like, 1),
    ("cosine", torch.cos, (1 + math.exp(-2)) / 2),
    ("exponential", torch.exp, math.exp(2)),
    ("clipped", lambda z: z.clamp(-1, 1), 1 - math.sqrt(2 / math.pi / math.e)),
]


@pytest.mark.parametrize(("function", "moment"), [c[1:] for c in CLOSED], ids=[c[0] for c in CLOSED])
def test_second_moments_in_closed_form(function: Callable[[Tensor], Tensor], moment: float) -> None:
    found = second_moment(function)
    assert found.dtype == torch.float64 and found.shape == ()
    assert found.item() == pytest.approx(moment, rel=1e-5)


def test_several_functions_at_once() -> None:
    found = second_moment(lambda z: torch.stack([z, z.relu(), z.square()], -1))
    assert found.tolist() == pytest.approx([1, 0.5, 3])


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("relu", 2),
        ("identity", 1),
        ("silu", 2.8178),
        ("gelu", 2.3568),
        ("prelu", 2 / (1 + 0.25**2)),
        ("maxmin", 1),
        ("groupsort", 1),
        ("product_gate", 1),
        ("elu", 1.5508),
    ],
)
@pytest.mark.parametrize("channels", [1, 16])
def test_gains(name: str, wanted: float, channels: int) -> None:
    assert gain(make("activation", name, channels), channels) == pytest.approx(wanted, rel=0.01)


def test_the_gain_of_prelu_follows_its_slope() -> None:
    activation = nn.PReLU(4, -0.8)
    assert gain(activation, 4) == pytest.approx(2 / (1 + 0.64), rel=0.01)


def test_the_gain_leaves_the_activation_and_the_generator_alone() -> None:
    activation = make("activation", "evonorm_b0", 8)
    before, generator = {k: v.clone() for k, v in activation.state_dict().items()}, torch.get_rng_state()
    gain(activation, 8)
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, before[name]) for name, value in activation.state_dict().items())
    assert activation.training
