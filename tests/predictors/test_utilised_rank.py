import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from predictors import Batch, Unscorable, utilised_rank
from predictors.utilised_rank import utilisation
from search_spaces.registry import make


def batch(inputs: Tensor, memory: int = 2**30) -> Batch:
    return Batch(inputs, torch.zeros(len(inputs), dtype=torch.long), memory=memory)


def directions(*energies: float, size: int = 8) -> Tensor:
    """Rows whose Σ x·xᵀ has these eigenvalues, in directions that are not the axes."""
    axes = torch.linalg.qr(torch.randn(size, size, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    return torch.tensor(energies, dtype=torch.float64).sqrt()[:, None] * axes[: len(energies)]


def linear(*shape: int, rank: int | None = None) -> nn.Linear:
    torch.manual_seed(0)
    layer = nn.Linear(*shape, bias=False).double()
    if rank is not None:
        u, s, v = torch.linalg.svd(layer.weight.detach(), full_matrices=False)
        layer.weight.data = (u[:, :rank] * s[:rank]) @ v[:rank]
    return layer


def shares(network: nn.Module, inputs: Tensor, memory: int = 2**30) -> list[float]:
    return utilisation(network, batch(inputs, memory), lambda outputs, targets: outputs.sum())


def test_inputs_of_few_directions_bound_the_rank() -> None:
    """3 of 8 directions, with a weight that is orthogonal and so keeps them."""
    layer = linear(8, 8)
    nn.init.orthogonal_(layer.weight)
    noise = torch.randn(50, 3, dtype=torch.float64)
    assert shares(layer, noise @ directions(1, 1, 1)) == [3 / 8]


def test_weights_of_low_rank_bound_it_as_well() -> None:
    u, v = (torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64))[0] for _ in range(2))
    layer = linear(8, 8)
    layer.weight.data = u[:, :2] @ v[:2]
    assert shares(layer, torch.randn(200, 8, dtype=torch.float64)) == [2 / 8]


def test_the_rank_is_the_fewest_directions_that_hold_99_percent() -> None:
    layer = linear(8, 8)
    nn.init.orthogonal_(layer.weight)
    assert shares(layer, directions(98, 1, 1, 0, 0, 0, 0, 0)) == [2 / 8]
    assert shares(layer, directions(98, 0.9, 0.9, 0.2, 0, 0, 0, 0)) == [3 / 8]
    assert shares(layer, directions(99.5, 0.5, 0, 0, 0, 0, 0, 0)) == [1 / 8]
    assert shares(layer, directions(*[1] * 8)) == [1]


def test_the_mean_is_not_taken_away() -> None:
    """Features of one direction and no variance have rank 1, and none at all have rank 0."""
    layer = linear(8, 4)
    assert shares(layer, torch.ones(20, 8, dtype=torch.float64)) == [1 / 4]
    assert shares(layer, torch.zeros(20, 8, dtype=torch.float64)) == [0]


@pytest.mark.parametrize(("shape", "rows", "most"), [((8, 3), 20, 3), ((3, 8), 20, 3), ((8, 8), 4, 4)])
def test_what_a_share_is_relative_to(shape: tuple[int, int], rows: int, most: int) -> None:
    """With inputs and outputs of one direction the rank is 1."""
    inputs = torch.randn(rows, 1, dtype=torch.float64) @ directions(1, size=shape[0])
    assert shares(linear(*shape), inputs) == [1 / most]


def energetic(x: np.ndarray) -> int:
    """By singular values in NumPy."""
    energies = np.cumsum(np.linalg.svd(x, compute_uv=False) ** 2)
    return int(np.argmax(energies >= 0.99 * energies[-1])) + 1


def test_channels_of_maps_and_of_tokens() -> None:
    torch.manual_seed(0)
    convolution = nn.Conv2d(6, 4, 3, stride=2).double()
    maps = torch.randn(3, 6, 7, 5, dtype=torch.float64) * torch.tensor([9.0, 5, 1, 1, 0.1, 0.1])[:, None, None]
    rows = [each.permute(0, 2, 3, 1).reshape(-1, each.shape[1]).detach().numpy() for each in (maps, convolution(maps))]
    assert shares(convolution, maps) == [min(map(energetic, rows)) / 4]
    tokens = torch.randn(3, 9, 6, dtype=torch.float64) * torch.tensor([9.0, 5, 1, 1, 0.1, 0.1])
    layer = linear(6, 6)
    rows = [each.reshape(-1, 6).detach().numpy() for each in (tokens, layer(tokens))]
    assert shares(layer, tokens) == [min(map(energetic, rows)) / 6]


def test_the_score_is_the_mean_over_the_layers_that_are_called() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second, self.idle = linear(8, 8), linear(8, 5, rank=2), linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.second(self.first(self.first(x)))

    inputs = torch.randn(60, 1, dtype=torch.float64) @ directions(1)
    assert shares(Twice(), inputs)[1] == 1 / 5 and len(shares(Twice(), inputs)) == 2
    first, second = shares(Twice(), inputs)
    assert first > 1 / 8  # two calls, with inputs in two directions
    assert utilised_rank.score(Twice(), batch(inputs)) == pytest.approx((first + second) / 2)


def test_chunks_change_nothing_without_batch_normalisation() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(2, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 16, 10)).double()
    inputs, sizes = torch.randn(10, 2, 6, 6, dtype=torch.float64), []
    whole = shares(network, inputs)
    network[0].register_forward_hook(lambda module, given, output: sizes.append(len(output)))
    assert shares(network, inputs, 12000) == whole and len(set(whole)) == 2
    assert 1 < max(sizes[1:]) < 10


class Product(nn.Module):
    """A layer whose linear part is never called, and a part in it that is, but returns functions of each feature."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = linear(16, 4)
        self.basis = Powers()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.linear(self.basis(x).flatten(1), self.linear.weight)


class Powers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 2, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([x, x.square()], -1) * self.scale


def masked(layer: nn.Module) -> nn.Module:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scales = nn.Parameter(torch.ones_like(layer.weight))

        def forward(self, weight: Tensor) -> Tensor:
            return weight * self.scales

    parametrize.register_parametrization(layer, "weight", Scaled())
    return layer


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (nn.Sequential(nn.Sequential(linear(8, 8), nn.ReLU()), linear(8, 2)), 2),
        (nn.Sequential(nn.BatchNorm1d(8).double(), linear(8, 8).requires_grad_(False), linear(8, 8)), 1),
        (nn.Sequential(masked(linear(8, 8)), linear(8, 8)), 2),
        (nn.Sequential(Product(), linear(4, 3)), 2),
        (nn.Sequential(linear(8, 8), make("head", "kan_linear", 8, 5).double()), 2),
        (nn.Sequential(make("activation", "group_rational", 8).double(), linear(8, 3)), 2),
    ],
    ids=["nested", "frozen", "parametrized", "not called", "kan", "rational"],
)
def test_which_modules_are_layers(network: nn.Module, count: int) -> None:
    assert len(shares(network, torch.randn(50, 8, dtype=torch.float64))) == count


def test_the_features_of_a_parametrized_layer_count_and_not_its_weights() -> None:
    assert shares(masked(linear(8, 8)), torch.randn(50, 1, dtype=torch.float64) @ directions(1)) == [1 / 8]


def test_a_layer_whose_parts_are_not_called_is_seen_as_a_whole() -> None:
    assert shares(Product(), torch.randn(50, 1, dtype=torch.float64) @ directions(1)) == [1 / 4]


@pytest.mark.parametrize(
    ("network", "inputs", "message"),
    [
        (nn.Sequential(nn.Flatten(), nn.BatchNorm1d(4)), torch.randn(3, 4), "it has no layer with weights"),
        (nn.Linear(4, 2), torch.full((3, 4), torch.inf), "features have to be finite"),
    ],
    ids=["no layer", "infinite"],
)
def test_what_has_no_share_is_declined(network: nn.Module, inputs: Tensor, message: str) -> None:
    with pytest.raises(Unscorable, match=f"utilised_rank cannot score this network: {message}"):
        utilised_rank.score(network, batch(inputs))


def test_batch_normalisation_sees_the_batch() -> None:
    """A dead weight before it, of deviation 1e-3 here and there, is as large as the others after it."""
    inputs = torch.randn(40, 4, dtype=torch.float64) * torch.tensor([1, 1, 1, 1e-3], dtype=torch.float64)
    layer = nn.Linear(4, 4, bias=False).double()
    nn.init.eye_(layer.weight)
    assert shares(layer, inputs) == [3 / 4]
    assert shares(nn.Sequential(nn.BatchNorm1d(4, eps=1e-12).double(), layer), inputs) == [1]
