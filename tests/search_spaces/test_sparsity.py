from copy import deepcopy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces.registry import make
from search_spaces.sparsity.masking import live_parameters
from search_spaces.sparsity.random import erk_densities


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(4, 8, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 3 * 3, 8))


def weights(module: nn.Module) -> list[Tensor]:
    return [layer.weight for layer in module.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]


X = torch.randn(5, 4, 3, 3, generator=torch.Generator().manual_seed(1))


def test_erk_densities_by_hand() -> None:
    # (2, 2): 4 weights, (2+2)/4 = 1 each; (10, 10): 100 weights, 20/100 = 0.2 each.
    # Density 0.1 leaves 10.4 = scale·(4·1 + 100·0.2), so scale = 10.4/24.
    assert erk_densities([(2, 2), (10, 10)], 0.1) == pytest.approx([10.4 / 24, 0.2 * 10.4 / 24])
    # Density 0.25 would give the small one 26/24 > 1: it is whole, and the other has the 22 that are left.
    assert erk_densities([(2, 2), (10, 10)], 0.25) == pytest.approx([1.0, 0.22])
    assert erk_densities([(2, 2), (10, 10)], 1.0) == pytest.approx([1.0, 1.0])
    assert erk_densities([], 0.5) == []


@given(
    st.lists(st.lists(st.integers(1, 64), min_size=2, max_size=4), min_size=1, max_size=6),
    st.floats(0.05, 1.0),
)
def test_erk_keeps_the_density_of_the_whole(shapes: list[list[int]], density: float) -> None:
    sizes = [int(torch.Size(shape).numel()) for shape in shapes]
    densities = erk_densities(shapes, density)
    assert all(0 < d <= 1 for d in densities)
    assert sum(d * n for d, n in zip(densities, sizes, strict=True)) == pytest.approx(density * sum(sizes))


def test_a_random_mask_has_the_density_asked_for_and_counts_its_live_weights() -> None:
    module = network()
    make("sparsity", {"random": {"density": 0.3}})(module)
    alive = [int((w != 0).sum()) for w in weights(module)]
    assert sum(alive) == pytest.approx(0.3 * (8 * 4 * 9 + 72 * 8), abs=2)
    assert live_parameters(module) == sum(alive) + 8 + 8


def test_a_random_mask_holds_while_the_rest_learns() -> None:
    module = network()
    make("sparsity", {"random": {"density": 0.3}})(module)
    before = [w.detach().clone() for w in weights(module)]
    optimizer = torch.optim.SGD(module.parameters(), 0.5, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        module(X).square().sum().backward()
        optimizer.step()
    for old, new in zip(before, weights(module), strict=True):
        assert torch.equal(old == 0, new == 0)
        assert not torch.equal(old, new)


def test_a_random_mask_keeps_the_variance_of_the_outputs() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(512, 512, bias=False)
    x = torch.randn(64, 512)
    before = layer(x).var().item()
    make("sparsity", {"random": {"density": 0.25}})(layer)
    assert layer(x).var().item() == pytest.approx(before, rel=0.1)


def test_a_random_mask_comes_from_torchs_generator() -> None:
    def mask(seed: int) -> Tensor:
        module = network()
        torch.manual_seed(seed)
        make("sparsity", {"random": {"density": 0.5}})(module)
        return weights(module)[1] != 0

    assert torch.equal(mask(3), mask(3))
    assert not torch.equal(mask(3), mask(4))


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_two_of_four_keeps_the_two_largest_of_every_four_inputs(seed: int) -> None:
    layer = nn.Conv2d(8, 3, 3)
    original = torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(seed))
    layer.weight.data = original.clone()
    make("sparsity", "n_m")(layer)
    masked = layer.weight.detach()
    for o in range(3):
        for u in range(3):
            for v in range(3):
                for start in (0, 4):
                    four = original[o, start : start + 4, u, v].tolist()
                    kept = sorted(four, key=abs)[2:]
                    assert masked[o, start : start + 4, u, v].tolist() == [w if w in kept else 0 for w in four]


def test_two_of_four_passes_the_gradient_straight_through_and_follows_the_weights() -> None:
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[4.0, 3.0, 2.0, -1.0]])
    make("sparsity", "n_m")(layer)
    layer(torch.tensor([[1.0, 10.0, 100.0, 1000.0]])).backward()
    original: Tensor = layer.parametrizations["weight"].original  # type: ignore[index, union-attr]
    assert original.grad is not None
    assert original.grad.tolist() == [[1, 10, 100, 1000]]
    assert layer.weight.tolist() == [[4, 3, 0, 0]]
    original.data -= torch.tensor([[0.0, 0.0, 0.0, 9.0]])
    assert layer.weight.tolist() == [[4, 0, 0, -10]]
    assert live_parameters(layer) == 2


def test_weights_whose_inputs_four_does_not_divide_stay_whole() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.Conv2d(8, 8, 3, groups=8, bias=False))
    make("sparsity", "n_m")(module)
    assert live_parameters(module) == 8 * 3 * 9 + 8 * 9


def test_dense_keeps_everything_and_frozen_parameters_do_not_count() -> None:
    module = network()
    make("sparsity", "dense")(module)
    assert live_parameters(module) == (8 * 4 * 9 + 8) + (72 * 8 + 8)
    module[0].requires_grad_(False)
    assert live_parameters(module) == 72 * 8 + 8


@pytest.mark.parametrize("sparsity", [{"random": {"density": 0.4}}, "n_m"])
def test_masks_go_along_with_copies_states_and_functional_calls(sparsity: object) -> None:
    module = network()
    make("sparsity", sparsity)(module)
    wanted = module(X)
    assert torch.equal(deepcopy(module)(X), wanted)

    torch.manual_seed(9)
    other = deepcopy(network())
    make("sparsity", sparsity)(other)
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(X), wanted)

    doubled = {name: 2 * p for name, p in module.named_parameters()}
    called = torch.func.functional_call(module, doubled, (X,))
    other.load_state_dict(doubled, strict=False)
    assert torch.equal(called, other(X))
    assert not torch.equal(called, wanted)
