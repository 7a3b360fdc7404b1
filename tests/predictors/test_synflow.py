import itertools
import math

import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable, synflow
from search_spaces.registry import make


def batch(*shape: int, n: int = 2) -> Batch:
    return Batch(torch.randn(n, *shape), torch.zeros(n, dtype=torch.long))


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2))


def paths(model: nn.Module) -> float:
    """Σ_k |θ_k·∂R/∂θ_k| of a perceptron: each path adds its product once for every weight on it."""
    layers = [module for module in model if isinstance(module, nn.Linear)]  # type: ignore[attr-defined]
    weights = [layer.weight.detach().double().abs() for layer in layers]
    total, last = 0.0, len(layers) - 1
    norms = 1  # the batch norm after the first layer: γ = 1
    for start in range(-1, len(layers)):  # from an input, or from the bias of a layer
        widths = [layer.out_features for layer in layers[max(start, 0) :]]
        sources = [layers[0].in_features] if start < 0 else []
        for path in itertools.product(*map(range, [*sources, *widths])):
            first = max(start, 0)
            product = 1.0 if start < 0 else layers[start].bias.detach().double().abs()[path[0]].item()
            steps = range(first if start < 0 else start + 1, last + 1)
            for step, (source, target) in zip(steps, itertools.pairwise(path), strict=True):
                product *= weights[step][target, source].item()
            count = len(steps) + (start >= 0) + norms * (start <= 0)
            total += count * product
    return total


def test_the_score_adds_up_all_paths() -> None:
    model = perceptron()
    assert synflow.score(model, batch(3)) == pytest.approx(math.log1p(paths(model)), rel=1e-7)


def reference(model: nn.Module, shape: tuple[int, ...]) -> float:
    """The official way: double precision, absolute weights, ones as input; norms of γ = 1 and β = 0 left out."""
    model = model.double()
    for parameter in model.parameters():
        parameter.data = parameter.data.abs()
    model(torch.ones(1, *shape, dtype=torch.float64)).sum().backward()
    return sum(float((p * p.grad).detach().abs().sum()) for p in model.parameters() if p.grad is not None)


def test_a_convolutional_network_without_norms_scores_as_by_the_official_way() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    score = synflow.score(model, batch(2, 6, 6))
    assert score == pytest.approx(math.log1p(reference(model, (2, 6, 6))), rel=1e-12)


@pytest.mark.parametrize("norm", ["batch", "group", "layer"])
def test_norms_add_what_passes_them_through_their_scale(norm: str) -> None:
    torch.manual_seed(0)
    conv, linear = nn.Conv2d(2, 4, 3, bias=False), nn.Linear(64, 2, bias=False)
    found = synflow.score(nn.Sequential(conv, make("norm", norm, 4), nn.Flatten(), linear), batch(2, 6, 6))
    flow = reference(nn.Sequential(conv, nn.Flatten(), linear), (2, 6, 6)) / 2
    assert found == pytest.approx(math.log1p(3 * flow), rel=1e-7)


@pytest.mark.parametrize("kind", ["n_m", {"random": {"density": 0.4}}])
def test_masked_weights_count_nothing(kind: object) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    make("sparsity", kind)(model)
    plain = nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
    for i in (0, 3):
        plain[i].weight.data = model[i].weight.detach().clone()  # type: ignore[operator,union-attr]
        plain[i].bias.data = model[i].bias.detach().clone()  # type: ignore[operator,union-attr]
    assert synflow.score(model, batch(4, 4, 4)) == pytest.approx(synflow.score(plain, batch(4, 4, 4)), rel=1e-12)


def test_kan_and_rational_parameters_count() -> None:
    torch.manual_seed(0)
    layer = nn.Sequential(make("layer", {"kan_linear": {"basis": "rbf"}}, 2, 3), make("activation", "rational", 3))
    model = nn.Sequential(layer, nn.Flatten())
    score = synflow.score(model, batch(2, 1, 1))
    assert score == pytest.approx(math.log1p(reference(model, (2, 1, 1))), rel=1e-7)
    layer[1].requires_grad_(False)
    assert synflow.score(model, batch(2, 1, 1)) < score


def test_samples_do_not_matter_and_the_network_stays() -> None:
    model = perceptron()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    score = synflow.score(model, batch(3))
    assert synflow.score(model, batch(3, n=7)) == score
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert synflow.score(model.bfloat16(), batch(3)) == pytest.approx(score, rel=0.01)


class Square(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.square()


def test_flows_beyond_float32_are_scored_and_beyond_float64_are_not() -> None:
    model = nn.Sequential(nn.Linear(1, 1), *[nn.Linear(1, 1) for _ in range(20)])
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.constant_(module.weight, 1e5)
            nn.init.zeros_(module.bias)
    assert synflow.score(model, batch(1)) == pytest.approx(math.log(21) + 21 * math.log(1e5))
    with pytest.raises(Unscorable, match=r"synflow cannot score this network: synflow is (inf|nan)"):
        synflow.score(nn.Sequential(model, *[Square() for _ in range(3)]), batch(1))
