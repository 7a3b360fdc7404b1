import itertools
import math

import pytest
import torch
from torch import nn

from predictors import Batch, Unscorable, path_norm
from search_spaces.registry import make


def batch(*shape: int) -> Batch:
    return Batch(torch.randn(2, *shape), torch.zeros(2, dtype=torch.long))


def test_the_score_is_the_sum_over_all_paths() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))
    one, two, three = (model[i].weight.detach().double().abs() for i in (0, 2, 4))
    low, middle, high = (model[i].bias.detach().double().abs() for i in (0, 2, 4))
    total = high.sum()
    for o, k in itertools.product(range(2), range(4)):
        total = total + three[o, k] * middle[k]
        for j in range(5):
            total = total + three[o, k] * two[k, j] * low[j]
            for i in range(3):
                total = total + three[o, k] * two[k, j] * one[j, i]
    assert path_norm.score(model, batch(3)) == pytest.approx(math.log1p(total.item()), rel=1e-7)


def test_scaling_a_unit_up_and_its_outputs_down_changes_nothing() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 5), nn.ReLU(), nn.Linear(5, 2))
    score = path_norm.score(model, batch(3))
    with torch.no_grad():
        model[0].weight[2] *= 8
        model[0].bias[2] *= 8
        model[2].weight[:, 2] /= 8
    assert path_norm.score(model, batch(3)) == pytest.approx(score, rel=1e-12)
    with torch.no_grad():
        model[0].weight[2] *= -1
    assert path_norm.score(model, batch(3)) == pytest.approx(score, rel=1e-12)


def test_a_pool_that_has_two_places_is_a_sum_in_both() -> None:
    pool, conv = nn.MaxPool2d(2), nn.Conv2d(1, 2, 1)
    once = nn.Sequential(conv, pool, pool, nn.Flatten())
    twice = nn.Sequential(conv, nn.MaxPool2d(2), nn.MaxPool2d(2), nn.Flatten())
    assert path_norm.score(once, batch(1, 4, 4)) == path_norm.score(twice, batch(1, 4, 4))


def test_a_pool_with_windows_that_are_cut_off_is_declined() -> None:
    with pytest.raises(Unscorable, match="max-pool with ceil_mode"):
        path_norm.score(nn.Sequential(nn.Conv2d(1, 2, 1), nn.MaxPool2d(3, ceil_mode=True)), batch(1, 4, 4))


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2), nn.MaxPool2d((3, 2), 1, (1, 0)), nn.MaxPool2d(2, stride=1, dilation=2)]
)
def test_maxima_of_windows_are_sums(pool: nn.MaxPool2d) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 3, 3, padding=1)
    weight, bias = conv.weight.detach().double().abs(), conv.bias.detach().double().abs()  # type: ignore[union-attr]
    maps = nn.functional.conv2d(torch.ones(1, 2, 4, 4, dtype=torch.float64), weight, bias, padding=1)
    down, across = (pool.padding,) * 2 if isinstance(pool.padding, int) else pool.padding
    padded = nn.functional.pad(maps, (across, across, down, down))
    unpadded = nn.MaxPool2d(pool.kernel_size, pool.stride, 0, pool.dilation)
    windows = nn.functional.unfold(padded, unpadded.kernel_size, unpadded.dilation, 0, unpadded.stride)
    assert pool(maps).numel() == windows.shape[-1] * 3
    found = path_norm.score(nn.Sequential(conv, pool, nn.Flatten()), batch(2, 4, 4))
    assert found == pytest.approx(math.log1p(windows.sum().item()), rel=1e-7)


def test_norms_are_affine_and_masks_hold() -> None:
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(4, 4, 1, bias=False), nn.BatchNorm2d(4)
    make("sparsity", "n_m")(conv)
    nn.init.normal_(norm.weight)
    nn.init.normal_(norm.bias)
    flow = conv.weight.detach().double().abs().sum((1, 2, 3)) * norm.weight.detach().double().abs()
    flow = flow + norm.bias.detach().double().abs()
    found = path_norm.score(nn.Sequential(conv, norm, nn.ReLU(), nn.Flatten()), batch(4, 1, 1))
    assert found == pytest.approx(math.log1p(flow.sum().item()), rel=1e-7)


def test_signed_outputs_add_up_absolutely() -> None:
    class Negated(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x * torch.tensor([1.0, -1.0])

    model = nn.Sequential(nn.Linear(1, 2, bias=False), Negated())
    nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
    assert path_norm.score(model, batch(1)) == pytest.approx(math.log(3))
