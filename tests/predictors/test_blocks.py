from random import Random

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from predictors import Batch, Unscorable, flops
from predictors.blocks import Passed, forward, profile, units
from search_spaces.space import Shape, find_space


class Residual(nn.Module):
    def __init__(self, *body: nn.Module) -> None:
        super().__init__()
        self.body = nn.Sequential(*body)

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = x + self.body(x)
        return added


class Custom(nn.Module):
    """What a user writes: parts in attributes and a list, functions between them."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)  # registered first, called last
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.layers = nn.ModuleList(Residual(nn.ReLU(), nn.Conv2d(4, 4, 1)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.norm(self.stem(x)))
        for layer in self.layers:
            x = layer(x)
        classified: Tensor = self.head(x.mean((2, 3)))
        return classified


class Wrapped(nn.Module):
    def __init__(self, inside: nn.Module) -> None:
        super().__init__()
        self.inside = inside

    def forward(self, x: Tensor) -> Tensor:
        passed: Tensor = self.inside(x)
        return passed


def flat(inplace: bool = False) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(2, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace), nn.Identity()]
    after = [nn.Conv2d(4, 5, 3, padding=1), nn.ReLU(inplace), nn.MaxPool2d(2), nn.AdaptiveAvgPool2d(1)]
    return nn.Sequential(*layers, *after, nn.Flatten(), nn.Linear(5, 3))


def staged() -> nn.Module:
    def stage(*blocks: nn.Module) -> nn.Module:
        return nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1), nn.Identity()), *blocks)

    plain = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 3, groups=4), nn.Conv2d(4, 4, 1)), nn.Identity(), nn.PReLU())
    stages = nn.Sequential(stage(plain), stage(Residual(nn.AvgPool2d(1)), Residual(nn.Conv2d(4, 4, 1))))
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    return nn.Sequential(nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4)), stages, head)


def batch(*shape: int) -> Batch:
    return Batch(torch.randn(*shape, generator=torch.Generator().manual_seed(1)), torch.zeros(shape[0]))


def passed(network: nn.Module, samples: Batch) -> Passed:
    known = profile(network, samples)
    return forward(network, samples.inputs, units(network, list(known.flops)), list(known.flops))


MAPS = (3, 2, 8, 8)


@pytest.mark.parametrize(
    ("network", "shape", "names"),
    [
        (flat(), MAPS, ["0", "4"]),
        (staged(), MAPS, ["0", "1.0.0", "1.0.1", "1.1.0", "1.1.1", "1.1.2"]),
        (Custom(), MAPS, ["stem", "layers.0", "layers.1"]),
        (Wrapped(Wrapped(Custom())), MAPS, ["inside.inside.stem", "inside.inside.layers.0", "inside.inside.layers.1"]),
        (nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)), (3, 5), ["0", "2"]),
        (nn.Sequential(nn.Linear(4, 4), nn.TransformerEncoderLayer(4, 2), nn.Linear(4, 4)), (3, 5, 4), ["0", "1"]),
        (nn.Sequential(nn.Conv2d(2, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1)), nn.Flatten()), MAPS, ["0", "1"]),
    ],
    ids=["flat", "stages", "custom", "wrapped", "vectors", "tokens", "one in a sequence"],
)
def test_blocks_are_found_in_any_network(network: nn.Module, shape: tuple[int, ...], names: list[str]) -> None:
    assert [each.name for each in passed(network, batch(*shape)).features] == names


def test_features_are_what_a_block_hands_on_before_a_pool() -> None:
    network, samples = flat(), batch(*MAPS)
    found = passed(network, samples)
    first = network[:3](samples.inputs)  # type: ignore[index]
    torch.testing.assert_close([each.values for each in found.features], [first, network[4:6](first)])  # type: ignore[index]
    torch.testing.assert_close(found.output, network(samples.inputs))


def test_work_in_place_does_not_change_features() -> None:
    samples = batch(*MAPS)
    expected, found = (passed(flat(inplace), samples).features for inplace in (False, True))
    torch.testing.assert_close([each.values for each in found], [each.values for each in expected])


def test_what_computed_a_block_is_counted_up_to_it() -> None:
    network = staged()
    found = passed(network, batch(*MAPS))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert [module for module, _ in found.computed] == convolutions
    assert [each.before for each in found.features] == [1, 2, 4, 5, 5, 6]


def test_flops_of_modules_add_up_to_those_of_the_network() -> None:
    network = Wrapped(Custom())
    found = profile(network, batch(*MAPS)).flops
    custom = network.inside
    assert {found[custom.stem], found[custom.head]} == {2 * 9 * 2 * 4 * 64, 2 * 4 * 3}  # type: ignore[index, union-attr]
    assert custom not in found
    space, rng = find_space("kan_vision"), Random(0)
    for _ in range(5):
        drawn = space.build(space.draw(rng), Shape((1, 8, 8), 10))
        samples = batch(2, 1, 8, 8)
        with torch.no_grad():
            expected = flops.count(drawn.eval(), samples.inputs[:1])
        assert sum(profile(drawn, samples).flops.values()) == expected > 0


@pytest.mark.parametrize("network", [nn.Flatten(), nn.Sequential(nn.Flatten(), nn.Linear(128, 3)), Residual(nn.ReLU())])
def test_a_network_without_two_blocks_is_declined(network: nn.Module) -> None:
    with pytest.raises(Unscorable, match=r"two blocks at least are needed.* but it has [01]$"):
        passed(network, batch(*MAPS))


def test_the_blocks_of_a_cell_network_are_its_cells() -> None:
    space = find_space("nasbench201")
    network = space.build(space.draw(Random(0)), Shape((3, 8, 8), 10))
    names = [each.name for each in passed(network, batch(2, 3, 8, 8)).features]
    assert names == ["stem", *(f"stages.{i}" for i in range(17))]
