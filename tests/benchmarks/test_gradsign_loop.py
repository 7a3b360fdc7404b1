import torch
from gradsign_loop import official_score
from torch import nn
from torch.nn.functional import cross_entropy

from predictors import Batch, gradsign


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten(), nn.Linear(64, 5)
    ).double()


def test_the_official_score_is_ours_where_only_its_weights_are_trained() -> None:
    rng = torch.Generator().manual_seed(0)
    inputs = torch.randn(6, 3, 8, 8, generator=rng, dtype=torch.float64)
    targets = torch.randint(5, (6,), generator=rng)
    official = official_score(network(), inputs, targets, cross_entropy)
    weights = network().requires_grad_(False)
    for index in (0, 3, 5):
        weights[index].weight.requires_grad_(True)  # type: ignore[index]
    assert gradsign.score(weights, Batch(inputs, targets)) == official
    assert gradsign.score(network(), Batch(inputs, targets)) > official
