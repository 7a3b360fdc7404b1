from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from predictors import Batch, Unscorable
from predictors.blocks import profile
from predictors.noise import gaussian, measure
from predictors.spectra import entropies


def batch(n: int = 64, channels: int = 4, size: int = 8) -> Batch:
    rng = torch.Generator().manual_seed(0)
    return Batch(torch.randn(n, channels, size, size, generator=rng, dtype=torch.float64), torch.zeros(n))


def linear(weight: Tensor, stride: int = 1) -> nn.Conv2d:
    """A convolution whose patches do not overlap: [c_out, c_in, stride, stride] as a matrix."""
    layer = nn.Conv2d(weight.shape[1], len(weight), stride, stride, bias=False)
    layer.weight.data = weight.clone()
    return layer.double()


def weights(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


class Cell(nn.Module):
    """A block with the result of one part multiplied by zero, and one part that sees zeros."""

    def __init__(self) -> None:
        super().__init__()
        self.kept, self.lost, self.blind = (nn.Conv2d(4, 4, kernel, padding=kernel // 2) for kernel in (1, 3, 5))

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.kept(x) + 0 * self.lost(x) + self.blind(0 * x)
        return summed


class Twice(nn.Module):
    """A block whose only part works twice; the second result is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.part = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        summed: Tensor = self.part(x) + 0 * self.part(x)
        return summed


class Same(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 0 * x + x


class Cut(nn.Module):
    """Lets nothing through."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


def test_the_norm_of_a_linear_map_is_that_of_its_matrix() -> None:
    # E[g_in·g_outᵀ] = Wᵀ·E[g_out·g_outᵀ] = Wᵀ, up to the noise of 4,096 places and more.
    first, second = weights(6, 4, 1, 1), weights(5, 6, 2, 2)
    network = nn.Sequential(linear(weights(4, 4, 1, 1)), linear(first), linear(second, 2), nn.Flatten())
    expected = [torch.linalg.matrix_norm(each.flatten(1), 2).item() for each in (first, second)]
    assert measure(network, batch(256)).norms == pytest.approx(expected, rel=0.05)


def test_a_block_that_lets_nothing_through_has_norm_0_and_no_entropy_after_it() -> None:
    blocks = [linear(weights(4, 4, 1, 1)), nn.Sequential(Cut()), linear(weights(4, 4, 1, 1))]
    found = measure(nn.Sequential(*blocks, nn.Flatten()), batch())
    assert found.norms[0] == 0.0
    assert found.entropies[1:] == (0.0, 0.0)


def test_entropies_are_those_of_the_features_of_each_block() -> None:
    layers, samples = [linear(weights(c, 4, 1, 1)) for c in (4, 7)], batch()
    first = layers[0](samples.inputs)
    found = measure(nn.Sequential(*layers, nn.ReLU(), nn.Flatten()), samples).entropies
    assert found == pytest.approx(entropies([first, layers[1](first).relu()]))


def test_what_is_computed_on_dead_paths_is_not_live() -> None:
    network = nn.Sequential(nn.Conv2d(4, 4, 1), Cell(), Twice(), nn.Flatten(), nn.Linear(256, 2)).double()
    per_place, head = 2 * 4 * 4 * 64, 2 * 256 * 2
    found = measure(network, batch(3))
    assert found.live_flops == per_place * (1 + 1 + 2) + head
    assert found.flops == per_place * (1 + (1 + 9 + 25) + 2) + head


def test_what_differs_in_one_sample_alone_is_live() -> None:
    samples = batch(4)
    samples.inputs[1:] = 0
    network = nn.Sequential(linear(weights(4, 4, 1, 1)), linear(weights(4, 4, 1, 1)), nn.Flatten())
    network.add_module("head", nn.Linear(256, 1, bias=False).double())
    for order in ([0, 1, 2, 3], [3, 2, 1, 0]):
        found = measure(network, replace(samples, inputs=samples.inputs[order]))
        assert found.live_flops == found.flops


def test_a_result_that_one_sample_alone_uses_is_live() -> None:
    class Late(nn.Module):
        """Uses the result of its part for the last sample alone."""

        def __init__(self) -> None:
            super().__init__()
            self.part = linear(weights(4, 4, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            used: Tensor = x + self.part(x) * (torch.arange(len(x)) == 3).view(-1, 1, 1, 1)
            return used

    found = measure(nn.Sequential(linear(weights(4, 4, 1, 1)), nn.Sequential(Late()), nn.Flatten()), batch(4))
    assert found.live_flops == found.flops


def test_blocks_that_hand_on_their_input_are_told() -> None:
    identity = torch.eye(4).double()[:, :, None, None]
    blocks = [linear(weights(4, 4, 1, 1)), nn.Sequential(Same()), linear(identity), linear(-identity)]
    network = nn.Sequential(*blocks, nn.Conv2d(4, 6, 1), nn.Flatten())
    assert measure(network.double(), batch()).same == (True, True, False, False)


def test_what_memory_parts_is_put_together_again() -> None:
    network = nn.Sequential(linear(weights(4, 4, 1, 1)), Cell().double(), linear(weights(4, 4, 1, 1)))
    whole = batch(6)
    parts = [measure(network, Batch(inputs, torch.zeros(3))) for inputs in whole.inputs.split(3)]
    found = measure(network, replace(whole, memory=3 * profile(network, whole).sample_bytes))
    expected = [sum(each) / 2 for each in zip(*(part.entropies for part in parts), strict=True)]
    assert found.entropies == pytest.approx(expected)
    assert found.entropies != pytest.approx(measure(network, whole).entropies)
    assert found.norms == pytest.approx(measure(network, whole).norms, rel=0.5)
    assert (found.flops, found.live_flops) == (parts[0].flops, parts[0].live_flops)


def test_inputs_are_standard_normal_in_the_shape_of_the_batch() -> None:
    torch.manual_seed(0)
    drawn = gaussian(Batch(torch.full((50, 3, 20, 20), 7.0), torch.zeros(50))).inputs
    assert drawn.shape == (50, 3, 20, 20)
    assert (drawn.mean().item(), drawn.std().item()) == (pytest.approx(0, abs=0.02), pytest.approx(1, abs=0.02))


def test_inputs_that_are_no_real_numbers_are_declined() -> None:
    with pytest.raises(Unscorable, match=r"inputs are drawn from N\(0, 1\), but those of this network are torch.int64"):
        gaussian(Batch(torch.zeros(2, 5, dtype=torch.int64), torch.zeros(2)))
