import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from predictors import Batch, synflow
from predictors.flow import NORMS, flow_network, without_masks, without_norms
from search_spaces.registry import make


@pytest.mark.parametrize(
    ("norm", "shape"),
    [
        (nn.BatchNorm2d(4), (3, 4, 2, 2)),
        (nn.BatchNorm1d(4), (3, 4)),
        (nn.GroupNorm(2, 4), (3, 4, 2, 2)),
        (nn.InstanceNorm2d(4, affine=True), (3, 4, 2, 2)),
        (nn.LayerNorm([2, 4]), (3, 2, 4)),
        (nn.RMSNorm(4), (3, 2, 4)),
        (nn.BatchNorm2d(4, affine=False), (3, 4, 2, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_norms_become_affine(norm: nn.Module, shape: tuple[int, ...]) -> None:
    for i, parameter in enumerate(norm.parameters()):
        nn.init.normal_(parameter, mean=i)
    x = torch.randn(shape)
    gamma, beta = (getattr(norm, name, None) for name in ("weight", "bias"))
    along = [1, 4, *[1] * (len(shape) - 2)] if not isinstance(norm, nn.LayerNorm | nn.RMSNorm) else list(shape[-2:])
    along = [4] if isinstance(norm, nn.RMSNorm) else along
    expected = x * (1 if gamma is None else gamma.view(along)) + (0 if beta is None else beta.view(along))
    for network in (without_norms(norm), without_norms(nn.Sequential(norm))):
        torch.testing.assert_close(network(x), expected)
        assert not any(isinstance(module, NORMS) for module in network.modules())
        assert list(network.parameters()) == list(norm.parameters())


def masked(kind: object) -> nn.Module:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    make("sparsity", kind)(network)
    return network


@pytest.mark.parametrize("kind", ["n_m", {"random": {"density": 0.4}}])
def test_masked_weights_become_what_the_network_uses(kind: object) -> None:
    network = masked(kind)
    x, weight = torch.randn(2, 4, 4, 4), network[0].weight.clone()  # type: ignore[index,operator,union-attr]
    expected = network(x)
    made = without_masks(network)
    assert [tuple(each.shape) for each in made] == [(4, 4, 3, 3), (2, 16)]
    assert torch.equal(made[0], weight)
    assert 0 < int((weight == 0).sum()) < weight.numel()
    assert torch.equal(network(x), expected)
    assert [name for name, _ in network.named_parameters()] == ["0.bias", "0.weight", "3.bias", "3.weight"]


def test_a_weight_that_masked_layers_share_stays_one() -> None:
    one, other = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
    make("sparsity", "n_m")(nn.Sequential(one))
    make("sparsity", "n_m")(nn.Sequential(other))
    other.parametrizations.weight.original = one.parametrizations.weight.original  # type: ignore[union-attr]
    network = nn.Sequential(one, other, nn.Linear(4, 2, bias=False))
    made = without_masks(network)
    assert len(made) == 1 and one.weight is other.weight is made[0]


def test_a_norm_that_has_two_places_is_affine_in_both() -> None:
    norm = nn.BatchNorm1d(3)
    network = without_norms(nn.Sequential(norm, nn.Linear(3, 3), norm))
    assert [type(each).__name__ for each in network] == ["Affine", "Linear", "Affine"]  # type: ignore[attr-defined]


def test_a_network_stays_whole_when_its_copy_loses_the_masks() -> None:
    network = masked("n_m")
    x = torch.randn(2, 4, 4, 4)
    expected = network(x)
    synflow.score(network, Batch(x, torch.zeros(2, dtype=torch.long)))
    assert torch.equal(network(x), expected)
    assert parametrize.is_parametrized(network[0])  # type: ignore[index]


class Outer(nn.Module):
    def forward(self, factor: Tensor) -> Tensor:
        return factor @ factor.T


def test_what_is_no_mask_keeps_its_parametrization() -> None:
    layer = nn.Linear(4, 4)
    layer.weight = nn.Parameter(torch.randn(4, 2))
    parametrize.register_parametrization(layer, "weight", Outer(), unsafe=True)
    both = nn.Sequential(layer, parametrizations.weight_norm(nn.Linear(4, 2)))
    assert without_masks(both) == []
    assert layer.weight.shape == (4, 4)


def test_the_flow_network_is_absolute_in_float64_and_in_evaluation() -> None:
    network = flow_network(nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.PReLU()).train())
    assert all(each.dtype == torch.float64 and bool((each >= 0).all()) for each in network.parameters())
    assert not any(module.training for module in network.modules())


def test_frozen_weights_stay_frozen_without_their_masks() -> None:
    network = masked("n_m")
    network[0].requires_grad_(False)  # type: ignore[index]
    assert [each.requires_grad for each in without_masks(network)] == [False, True]
