import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable
from predictors.gradients import saved_bytes
from predictors.regions import is_non_linear, visit_codes, watch
from search_spaces.registry import make
from search_spaces.spaces.nasbench201 import Zeros

cross_entropy = nn.functional.cross_entropy


def batch(n: int = 6, memory: int = 2**30) -> Batch:
    rng = torch.Generator().manual_seed(1)
    return Batch(torch.randn(n, 2, 6, 6, generator=rng), torch.zeros(n, dtype=torch.long), memory=memory)


def codes(network: nn.Module, given: Batch) -> list[Tensor]:
    found: list[Tensor] = []
    visit_codes(network, given, cross_entropy, found.append)
    return found


def layers(norm: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(2, 5, 3), norm, nn.ReLU(), nn.Conv2d(5, 3, 3), nn.GELU())
    return nn.Sequential(body, nn.Flatten(), nn.Linear(12, 4), nn.Tanh(), nn.Linear(4, 3))


def test_codes_are_the_signs_of_what_activations_are_called_with() -> None:
    network, given = layers(nn.BatchNorm2d(5)), batch()
    body, x = network[0], given.inputs  # type: ignore[index]
    with torch.no_grad():
        one = body[1](body[0](x))
        two = body[3](one.relu())
        three = network[2](nn.functional.gelu(two).flatten(1))  # type: ignore[index]
    found = codes(network, given)
    assert [part.shape[1] for part in found] == [80, 12, 4]
    for part, expected in zip(found, (one, two, three), strict=True):
        assert torch.equal(part, expected.flatten(1) > 0)


def test_little_memory_goes_in_chunks_to_the_same_codes() -> None:
    network = layers(nn.GroupNorm(1, 5))
    sample = saved_bytes(network, batch(), cross_entropy)
    whole = codes(layers(nn.GroupNorm(1, 5)), batch())
    passes: list[int] = []
    network.register_forward_hook(lambda module, given, output: passes.append(len(output)))
    parts = codes(network, batch(memory=4 * sample))
    assert passes[1:] == [3, 3]  # the first pass measures
    assert len(parts) == len(whole)
    assert all(torch.equal(part, expected) for part, expected in zip(parts, whole, strict=True))


class Residual(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.body(x)
        return y


def test_innermost_modules_that_see_the_samples_are_watched() -> None:
    kan = make("layer", {"kan_conv2d": {"basis": "bspline"}}, 2, 2)
    conv = nn.Conv2d(2, 2, 3, padding=1)
    make("sparsity", {"random": {"density": 0.5}})(conv)  # its mask is called with the weight, of 2 rows
    stem = make("stem", {"fourier_features_kan": {"frequencies": 4}}, 2, 2)  # a part is called with places
    network = nn.Sequential(stem, Residual(nn.Sequential(conv, nn.ReLU())), kan)
    seen: list[nn.Module] = []
    watch(network, torch.randn(2, 2, 2, 2), lambda module, x: seen.append(module))
    assert seen == [stem.image, conv, network[1].body[1], kan]  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (nn.ReLU(), True),
        (nn.Tanh(), True),
        (make("activation", "helu", 4), True),
        (make("activation", "group_rational", 4), True),
        (make("activation", "maxmin", 4), True),
        (make("activation", "evonorm_b0", 4), True),
        (make("layer", {"kan_conv2d": {"basis": "rbf"}}, 4, 4), True),
        (nn.Conv2d(4, 4, 3), False),
        (nn.BatchNorm2d(4), False),
        (nn.GroupNorm(2, 4), False),
        (nn.MaxPool2d(2), False),
        (Zeros(), False),
        (Residual(nn.Identity()), False),
        (make("activation", {"rational": {"init": "identity"}}, 4), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_not_affine_is_non_linear_except_norms_and_pools(module: nn.Module, expected: bool) -> None:
    torch.manual_seed(0)
    with torch.no_grad():
        assert is_non_linear(module, torch.zeros(3, 4, 5, 5)) is expected


def test_a_linear_network_has_no_codes() -> None:
    with pytest.raises(Unscorable, match="no non-linear module"):
        codes(nn.Sequential(nn.Flatten(), nn.Linear(72, 3)), batch())
