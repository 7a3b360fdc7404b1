import gzip
import itertools
import json
import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.decisions import DecisionError
from search_spaces.space import find_space
from search_spaces.spaces.nasbench_macro import Bottleneck, read, write

SPACE = find_space("nasbench_macro")
DIGITS = {"0": "identity", "1": "mb3", "2": "mb6"}
INSIDE = {"1": (3, 3), "2": (6, 5)}
WIDTHS = [32, 64, 64, 128, 128, 128, 256, 256, 256]
LAYERS = list(zip(WIDTHS, WIDTHS[1:], [16, 16, 8, 8, 8, 4, 4, 4], strict=False))  # channels in and out, side after it


@dataclass(frozen=True)
class Images:
    input_shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 10


CIFAR = Images((3, 32, 32))


def built(key: str, images: Images = Images()) -> nn.Module:
    torch.manual_seed(0)
    return SPACE.build(read(key), images)


def batch(images: Images, n: int = 2) -> Tensor:
    return torch.randn(n, *images.input_shape, generator=torch.Generator().manual_seed(0))


@cache
def table() -> Any:
    """Read the published results; skips where they are not at hand."""
    folder = Path(os.environ.get("NAS_TABLES", Path(__file__).parents[3] / "shared" / "data"))
    file = folder / "nasbench_macro_cifar10.json.gz"
    if not file.exists():
        pytest.skip(f"{file.name} is not at hand: NAS_TABLES names the folder of tables")
    return json.loads(gzip.decompress(file.read_bytes()))


def weights(key: str) -> int:
    """Count the weights by hand: a sum over the layers and a constant."""
    total = (9 * 3 * 32 + 2 * 32) + (256 * 1280 + 2 * 1280) + (1280 * 10 + 10)
    for digit, (before, after, _) in zip(key, LAYERS, strict=True):
        if digit != "0":
            expansion, kernel = INSIDE[digit]
            inside = expansion * before
            total += before * inside + kernel**2 * inside + inside * after + 2 * (inside + inside + after)
        elif before != after:
            total += before * after + 2 * after
    return total


def products(key: str) -> int:
    """Count the multiplications of convolutions and the linear layer by hand, for one image of CIFAR-10."""
    total = 9 * 3 * 32 * 32**2 + 256 * 1280 * 4**2 + 1280 * 10
    for digit, (before, after, side) in zip(key, LAYERS, strict=True):
        if digit != "0":
            expansion, kernel = INSIDE[digit]
            inside, entered = expansion * before, side if before == after else 2 * side
            total += before * inside * entered**2 + (kernel**2 * inside + inside * after) * side**2
        elif before != after:
            total += before * after * side**2
    return total


def test_a_network_is_read_and_written_as_in_the_benchmark() -> None:
    layers = ["identity", "mb6", "identity", "mb3", "mb6", "identity", "mb3", "mb3"]
    assert SPACE.notation is not None
    assert SPACE.notation.read("02012011") == {"network": {"layers": layers}}
    assert SPACE.notation.write({"network": {"layers": layers}}) == "02012011"


@given(st.text("012", min_size=8, max_size=8))
def test_writing_undoes_reading_which_gives_an_architecture_of_the_space(key: str) -> None:
    decided = read(key)
    assert list(SPACE.trace(decided).values()) == [DIGITS[digit] for digit in key]
    assert write(decided) == key


@pytest.mark.parametrize("text", ["", "0201201", "020120110", "02012013", "0201201²", "0201201\n", "identity"])
def test_what_is_no_network_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DecisionError) as refused:
        read(text)
    message = str(refused.value)
    assert repr(text) in message and "eight digits: 0 for identity, 1 for mb3, 2 for mb6" in message
    assert "\n" not in message


def test_the_space_has_the_size_of_the_benchmark_and_no_training() -> None:
    assert SPACE.size() == 3**8
    assert set(SPACE.tree.fields) == {"network"}


def test_the_table_names_each_architecture_of_the_space() -> None:
    keys = {"".join(digits) for digits in itertools.product("012", repeat=8)}
    assert {write(read(key)) for key in table()} == keys


def test_weights_and_products_counted_by_hand_are_those_of_every_row_of_the_table() -> None:
    for key, row in table().items():
        assert (weights(key), products(key)) == (row["params"], row["flops"]), key


@pytest.mark.parametrize("seed", range(40))
def test_a_network_has_the_weights_counted_by_hand(seed: int) -> None:
    key = "".join(Random(seed).choices("012", k=8))
    with torch.device("meta"):
        network = SPACE.build(read(key), CIFAR)
    assert sum(p.numel() for p in network.parameters()) == weights(key)


@pytest.mark.parametrize("seed", range(8))
def test_a_network_multiplies_as_often_as_counted_by_hand(seed: int) -> None:
    key = "".join(Random(seed).choices("012", k=8))
    with torch.device("meta"):
        network = SPACE.build(read(key), CIFAR)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(2, 3, 32, 32))
    assert counter.get_total_flops() == 2 * 2 * products(key)


def norm(x: Tensor) -> Tensor:
    return x.div((1 + 1e-5) ** 0.5)


@pytest.mark.parametrize(("after", "expansion", "kernel"), [(2, 3, 3), (2, 6, 5), (4, 3, 3), (4, 6, 5)])
def test_a_bottleneck_expands_filters_and_projects(after: int, expansion: int, kernel: int) -> None:
    bottleneck = Bottleneck(2, after, expansion, kernel).double().eval()
    x = torch.randn(2, 2, 7, 8, dtype=torch.float64)
    expand, filters, project = (module.weight for module in bottleneck.modules() if isinstance(module, nn.Conv2d))
    inside, stride = 2 * expansion, 1 if after == 2 else 2
    y = norm(functional.conv2d(x, expand)).relu()
    y = norm(functional.conv2d(y, filters, stride=stride, padding=kernel // 2, groups=inside)).relu()
    y = norm(functional.conv2d(y, project))
    torch.testing.assert_close(bottleneck(x), x + y if after == 2 else y)


def test_a_network_of_identities_is_three_projections_between_stem_and_head() -> None:
    network = built("00000000", CIFAR).double().eval()
    stem, *projections, last = (module.weight for module in network.modules() if isinstance(module, nn.Conv2d))
    linear = network.get_submodule("head")[-1]  # type: ignore[index]
    x = batch(CIFAR).double()
    y = norm(functional.conv2d(x, stem, padding=1)).relu()
    assert len(projections) == 3
    for projection in projections:
        y = norm(functional.conv2d(y[:, :, ::2, ::2], projection))
    y = norm(functional.conv2d(y, last)).relu().mean((2, 3))
    torch.testing.assert_close(network(x), y @ linear.weight.T + linear.bias)


def test_identities_change_places_within_a_stage_without_changing_the_weights_and_the_function() -> None:
    one, other = built("10010201").eval(), built("10001210").eval()
    other.load_state_dict(dict(zip(other.state_dict(), one.state_dict().values(), strict=True)))
    x = batch(Images())
    torch.testing.assert_close(one(x), other(x))


@pytest.mark.parametrize("images", [Images(), Images((3, 32, 32), 100), Images((2, 9, 14), 3)], ids=str)
def test_any_size_and_number_of_classes(images: Images) -> None:
    for key in ("01201200", "20010122"):
        logits = built(key, images)(batch(images))
        assert logits.shape == (2, images.classes) and logits.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 32, 4)])
def test_too_small_an_input_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"nasbench_macro needs inputs of 8x8 or more, but got {shape[1]}x{shape[2]}"):
        built("00000000", Images(shape))


@pytest.mark.parametrize("key", ["00000000", "11111111", "22222222", "01201200"])
def test_the_gradient_reaches_every_weight(key: str) -> None:
    images = Images((3, 16, 16))
    network = built(key, images)
    functional.cross_entropy(network(batch(images, 8)), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


def test_weights_are_drawn_from_a_normal_distribution_of_variance_two_over_fan_in() -> None:
    for name, module in built("12121212", CIFAR).named_modules():
        if isinstance(module, nn.Conv2d):
            scale = (module.weight[0].numel() * module.weight.detach().square().mean()).item()
            assert scale == pytest.approx(2, rel=0.3), name


def test_a_network_exports() -> None:
    network, x = built("01201201").eval(), batch(Images())
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))
