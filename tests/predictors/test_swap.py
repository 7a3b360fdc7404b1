import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, swap


def batch(n: int) -> Batch:
    rng = torch.Generator().manual_seed(1)
    return Batch(torch.randn(n, 2, 6, 6, generator=rng), torch.zeros(n, dtype=torch.long))


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def reference(model: nn.Module, inputs: Tensor) -> int:
    patterns = set()
    for module in model.train().modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(
                lambda module, given, output: patterns.update(map(tuple, (given[0].flatten(1) > 0).T.tolist()))
            )
    with torch.no_grad():
        model(inputs)
    return len(patterns)


@pytest.mark.parametrize("n", [3, 6, 64, 65, 130])
def test_the_score_counts_the_distinct_patterns_of_units(n: int) -> None:
    found = swap.score(network(), batch(n))
    assert found == reference(network(), batch(n).inputs)
    assert 1 < found <= 8 * 16 + 4 * 4


def test_patterns_are_counted_once_however_often_they_are_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = swap.score(network(), batch(4))
    monkeypatch.setattr(swap, "GATHERED", 1)
    assert swap.score(network(), batch(4)) == whole


def test_a_case_by_hand() -> None:
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Linear(4, 2))
    inputs = torch.tensor([[1.0, -1.0, 2.0, 0.0], [1.0, 1.0, 3.0, -2.0]])
    assert swap.score(model, Batch(inputs, torch.zeros(2, dtype=torch.long))) == 3  # 11, 01, 11, 00


def test_order_of_samples_and_repetition_do_not_matter() -> None:
    given = batch(9)
    model = network()
    assert swap.score(model, given) == swap.score(model, given)
    assert swap.score(model, Batch(given.inputs.flip(0), given.targets)) == swap.score(model, given)
    assert swap.score(model.bfloat16(), given) == pytest.approx(swap.score(network(), given), rel=0.1)


@pytest.mark.parametrize("odd", [0, 63, 64, 65, 128, 129])
def test_one_sample_of_many_tells_patterns_apart(odd: int) -> None:
    inputs = torch.full((130, 4), -1.0)
    inputs[:, 2:] = 1.0
    inputs[odd, [1, 3]] *= -1
    model = nn.Sequential(nn.Identity(), nn.ReLU(), nn.Linear(4, 2))
    assert swap.score(model, Batch(inputs, torch.zeros(130, dtype=torch.long))) == 4
