import math

import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable, zen
from predictors.gradients import saved_bytes
from predictors.regions import watch
from search_spaces.registry import make
from search_spaces.space import Shape, find_space


def batch(*shape: int, n: int = 4, seed: int = 0, memory: int = 2**30) -> Batch:
    return Batch(torch.ones(n, *shape), torch.zeros(n, dtype=torch.long), seed, memory)


def network(norm: nn.Module | None = None) -> nn.Module:
    body = nn.Sequential(nn.Conv2d(2, 6, 3), norm or nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3))
    return nn.Sequential(body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))


def reference(given: Batch) -> float:
    """Step by step in float64, with the numbers that the predictor draws."""
    torch.manual_seed(given.seed)
    weights = [torch.empty(shape).normal_().double() for shape in ((6, 2, 3, 3), (4, 6, 3, 3), (3, 4))]
    x = torch.randn(given.inputs.shape)
    x, moved = x.double(), (x + 0.01 * torch.randn(x.shape)).double()
    maps = nn.functional.conv2d(torch.cat([x, moved]), weights[0])
    variance = maps.var((0, 2, 3), correction=0)
    normal = (maps - maps.mean((0, 2, 3), keepdim=True)) / (variance[:, None, None] + 1e-5).sqrt()
    features = nn.functional.conv2d(normal.relu(), weights[1])
    distance = (features[: len(x)] - features[len(x) :]).abs().sum((1, 2, 3)).mean()
    return float(distance.log() + variance.mean().log() / 2)


def test_the_score_is_that_of_an_explicit_pass() -> None:
    assert zen.score(network(), batch(2, 8, 8)) == pytest.approx(reference(batch(2, 8, 8)), abs=1e-4)


def test_weights_norms_and_samples_of_the_network_do_not_matter_and_it_stays() -> None:
    torch.manual_seed(1)
    one, other = network(), network()
    nn.init.normal_(other[0][1].weight)  # type: ignore[index,arg-type]
    nn.init.normal_(other[0][1].bias)  # type: ignore[index,arg-type]
    before = {name: value.clone() for name, value in other.state_dict().items()}
    score = zen.score(one, batch(2, 8, 8))
    given = Batch(torch.randn(4, 2, 8, 8), torch.zeros(4, dtype=torch.long))
    assert zen.score(other, given) == score
    assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    assert zen.score(other.bfloat16(), given) == pytest.approx(score, abs=1e-6)
    assert zen.score(one, batch(2, 8, 8, seed=1)) != score


@pytest.mark.parametrize(
    ("norm", "shape", "dims"),
    [
        (nn.BatchNorm2d(4), (3, 4, 2, 2), (0, 2, 3)),
        (nn.BatchNorm1d(4), (3, 4), (0,)),
        (nn.InstanceNorm2d(4), (3, 4, 2, 2), (2, 3)),
        (nn.GroupNorm(1, 4), (3, 4, 2, 2), (1, 2, 3)),
        (nn.LayerNorm([2, 4]), (3, 2, 4), (1, 2)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_norms_divide_by_their_variances(norm: nn.Module, shape: tuple[int, ...], dims: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    x = 3 * torch.randn(shape) + 1
    found = zen.variances(norm, x)
    torch.testing.assert_close(found.flatten(), x.var(dims, correction=0).flatten())
    ratio = (x - x.mean(dims, keepdim=True)) / norm.train()(x)
    assert ratio.square().mean().item() == pytest.approx(found.mean().item(), rel=1e-3)


def test_groups_and_root_mean_squares() -> None:
    torch.manual_seed(0)
    x = torch.randn(3, 4, 2)
    expected = torch.stack([x[:, :2].flatten(1).var(1, correction=0), x[:, 2:].flatten(1).var(1, correction=0)], 1)
    torch.testing.assert_close(zen.variances(nn.GroupNorm(2, 4), x), expected)
    torch.testing.assert_close(zen.variances(nn.RMSNorm(2), x), x.square().mean(-1))


def test_all_norms_count() -> None:
    """Without its norm a network scores what it does with it, for all that the norm takes is given back."""
    plain = network(nn.Identity())
    for norm in (nn.BatchNorm2d(6), nn.GroupNorm(1, 6)):
        assert zen.score(network(norm), batch(2, 8, 8)) == pytest.approx(zen.score(plain, batch(2, 8, 8)), abs=0.5)


@pytest.mark.parametrize("kind", ["n_m", {"random": {"density": 0.4}}])
def test_masks_hold_the_new_weights_too(kind: object) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(4, 4, 3)
    make("sparsity", kind)(layer)
    before = layer.weight.clone()
    zen.draw_weights(layer)
    after = layer.weight
    assert not torch.equal(before, after)
    assert int((after == 0).sum()) == int((before == 0).sum()) > 0
    assert not layer.bias.any()  # type: ignore[union-attr]


def test_the_features_are_the_map_before_the_head() -> None:
    space = find_space("nasbench201")
    cell = {f"edge_{i}_{j}": "nor_conv_1x1" for j in range(1, 4) for i in range(j)}
    model = space.build({"network": {"cell": cell}}, Shape((3, 8, 8), 10)).train()
    given = torch.randn(3, 3, 8, 8)
    seen: list[Tensor] = []
    pool = next(module for module in model.modules() if isinstance(module, nn.AdaptiveAvgPool2d))
    pool.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    features, _ = zen._follow(model, given)
    assert torch.equal(features, seen[0])
    assert features.shape == (3, 64, 2, 2)


def test_networks_of_vectors_have_the_features_of_the_last_layer() -> None:
    model = nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3))
    features, logs = zen._follow(model, torch.randn(2, 5))
    assert features.shape == (2, 7)
    assert logs == 0


def test_little_memory_goes_in_chunks() -> None:
    model = network(nn.GroupNorm(1, 6))
    whole = zen.score(model, batch(2, 8, 8))
    sample = saved_bytes(model, batch(2, 8, 8), nn.functional.cross_entropy)
    sizes: list[int] = []
    hook = model.register_forward_hook(lambda module, given, output: sizes.append(len(output)))
    assert zen.score(model, batch(2, 8, 8, memory=5 * sample)) == pytest.approx(whole, abs=5e-3)
    hook.remove()
    assert sizes == [1, 4, 4]


def test_what_is_beyond_float32_is_worked_out_in_float64() -> None:
    deep = nn.Sequential(*[nn.Linear(100, 100) for _ in range(60)])
    score = zen.score(deep, batch(100))
    assert score == pytest.approx(59 * math.log(10), rel=0.1)
    assert score > math.log(torch.finfo(torch.float32).max)


def test_features_that_do_not_move_cannot_be_scored() -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 0 * x

    with pytest.raises(Unscorable, match="zen cannot score this network: its features do not depend on its input"):
        zen.score(nn.Sequential(nn.Linear(3, 3), Constant(), nn.Linear(3, 2)), batch(3))


def test_watching_leaves_no_hooks_behind() -> None:
    model = network()
    watch(model, torch.randn(2, 2, 8, 8), lambda module, x: None)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
