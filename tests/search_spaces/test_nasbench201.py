import csv
import gzip
import itertools
import os
from collections import Counter
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
from search_spaces.spaces.nasbench201 import Cell, ResidualBlock, degenerate, read, write

SPACE = find_space("nasbench201")
OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]
EDGES = ["edge_0_1", "edge_0_2", "edge_1_2", "edge_0_3", "edge_1_3", "edge_2_3"]
WRITTEN = "|nor_conv_3x3~0|+|nor_conv_3x3~0|avg_pool_3x3~1|+|skip_connect~0|nor_conv_1x1~1|none~2|"
WIDTHS = [16, 32, 64]
PLACES = [32 * 32, 16 * 16, 8 * 8]


@dataclass(frozen=True)
class Images:
    input_shape: tuple[int, int, int] = (1, 8, 8)
    classes: int = 10


CIFAR = Images((3, 32, 32))


def architecture(*operations: str) -> Any:
    return {"network": {"cell": dict(zip(EDGES, operations, strict=True))}}


def built(decided: Any, images: Images = Images()) -> nn.Module:
    torch.manual_seed(0)
    return SPACE.build(decided, images)


def batch(images: Images, n: int = 2) -> Tensor:
    return torch.randn(n, *images.input_shape, generator=torch.Generator().manual_seed(0))


@cache
def table() -> list[dict[str, str]]:
    """Read the published results; skips where they are not at hand."""
    folder = Path(os.environ.get("NAS_TABLES", Path(__file__).parents[3] / "shared" / "data"))
    file = folder / "nasbench201_cifar10.csv.gz"
    if not file.exists():
        pytest.skip(f"{file.name} is not at hand: NAS_TABLES names the folder of tables")
    with gzip.open(file, "rt") as lines:
        return list(csv.DictReader(lines))


def weights(operations: list[str]) -> int:
    """Count the weights by hand: a sum over the edges and a constant."""
    edges = 0
    for side in [{"nor_conv_1x1": 1, "nor_conv_3x3": 3}.get(operation, 0) for operation in operations]:
        edges += sum(5 * (side**2 * c * c + 2 * c) for c in WIDTHS if side)
    blocks = sum((9 * c * 2 * c + 4 * c) + (9 * 2 * c * 2 * c + 4 * c) + c * 2 * c for c in (16, 32))
    return (9 * 3 * 16 + 2 * 16) + edges + blocks + 2 * 64 + (64 * 10 + 10)


def products(operations: list[str]) -> int:
    """Count the multiplications of convolutions and the linear layer by hand, for one image of CIFAR-10."""
    sides = [{"nor_conv_1x1": 1, "nor_conv_3x3": 3}.get(operation, 0) for operation in operations]
    edges = sum(5 * side**2 * c * c * places for side in sides for c, places in zip(WIDTHS, PLACES, strict=True))
    halving = [(16, 16 * 16), (32, 8 * 8)]
    blocks = sum(places * (9 * c * 2 * c + 9 * 2 * c * 2 * c + c * 2 * c) for c, places in halving)
    return 9 * 3 * 16 * 32 * 32 + edges + blocks + 64 * 10


def test_a_cell_is_read_and_written_as_in_the_benchmark() -> None:
    decided = architecture("nor_conv_3x3", "nor_conv_3x3", "avg_pool_3x3", "skip_connect", "nor_conv_1x1", "none")
    assert SPACE.notation is not None
    assert SPACE.notation.read(WRITTEN) == decided
    assert SPACE.notation.write(decided) == WRITTEN


@given(st.lists(st.sampled_from(OPERATIONS), min_size=6, max_size=6))
def test_reading_undoes_writing_and_gives_an_architecture_of_the_space(operations: list[str]) -> None:
    decided = architecture(*operations)
    assert read(write(decided)) == decided
    assert list(SPACE.trace(decided).values()) == operations


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cell",
        WRITTEN + "\n",
        WRITTEN.replace("none", "None"),
        WRITTEN.replace("nor_conv_1x1", "nor_conv_5x5"),
        WRITTEN.replace("none~2", "none~3"),
        WRITTEN.replace("|none~2", ""),
        WRITTEN.replace("+", ""),
        WRITTEN + "+|none~0|",
    ],
)
def test_what_is_no_cell_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(DecisionError) as refused:
        read(text)
    message = str(refused.value)
    assert repr(text) in message and "|op~0|+|op~0|op~1|+|op~0|op~1|op~2|" in message and "\n" not in message


def test_the_space_has_the_size_of_the_benchmark_and_no_training() -> None:
    assert SPACE.size() == 15_625
    assert set(SPACE.tree.fields) == {"network"}


def test_the_table_names_each_architecture_of_the_space_once() -> None:
    rows = [row["arch"] for row in table()]
    assert len(set(rows)) == len(rows) == SPACE.size()
    assert [write(read(row)) for row in rows] == rows


def test_weights_and_products_counted_by_hand_are_those_of_every_row_of_the_table() -> None:
    for row in table():
        operations = list(SPACE.trace(read(row["arch"])).values())
        assert weights(operations) == int(row["params"]), row["arch"]  # type: ignore[arg-type]
        assert products(operations) == int(row["flops"]), row["arch"]  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", range(40))
def test_a_network_has_the_weights_counted_by_hand(seed: int) -> None:
    operations = Random(seed).choices(OPERATIONS, k=6)
    with torch.device("meta"):
        network = SPACE.build(architecture(*operations), CIFAR)
    assert sum(p.numel() for p in network.parameters()) == weights(operations)


@pytest.mark.parametrize("seed", range(8))
def test_a_network_multiplies_as_often_as_counted_by_hand(seed: int) -> None:
    operations = Random(seed).choices(OPERATIONS, k=6)
    with torch.device("meta"):
        network = SPACE.build(architecture(*operations), CIFAR)
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, 32, 32))
    assert counter.get_total_flops() == 2 * products(operations)


def norm(x: Tensor) -> Tensor:
    return x.div((1 + 1e-5) ** 0.5)


def test_a_cell_adds_up_its_edges_as_the_benchmark_draws_them() -> None:
    cell = Cell(architecture(*OPERATIONS[1:], "none", "nor_conv_1x1")["network"]["cell"], 2).double().eval()
    x = torch.randn(2, 2, 5, 4, dtype=torch.float64)
    point, square, last = (module.weight for module in cell.modules() if isinstance(module, nn.Conv2d))
    one = x
    two = norm(functional.conv2d(x.relu(), point)) + norm(functional.conv2d(one.relu(), square, padding=1))
    around = functional.conv2d(x, torch.ones(2, 1, 3, 3).double(), padding=1, groups=2)
    counts = functional.conv2d(torch.ones_like(x), torch.ones(2, 1, 3, 3).double(), padding=1, groups=2)
    torch.testing.assert_close(cell(x), around / counts + norm(functional.conv2d(two.relu(), last)))


def test_a_residual_block_halves_the_maps_and_adds_means_of_two_by_two() -> None:
    block = ResidualBlock(2, 4).double().eval()
    x = torch.randn(2, 2, 6, 4, dtype=torch.float64)
    first, second, shortcut = (module.weight for module in block.modules() if isinstance(module, nn.Conv2d))
    inside = norm(functional.conv2d(x.relu(), first, stride=2, padding=1))
    means = x.reshape(2, 2, 3, 2, 2, 2).mean((3, 5))
    expected = norm(functional.conv2d(inside.relu(), second, padding=1)) + functional.conv2d(means, shortcut)
    torch.testing.assert_close(block(x), expected)


def test_cells_that_skip_leave_the_stem_the_blocks_and_the_head() -> None:
    network = built(architecture("none", "none", "none", "skip_connect", "none", "none"), CIFAR).double().eval()
    x = batch(CIFAR).double()
    y = norm(functional.conv2d(x, network.get_submodule("stem")[0].weight, padding=1))  # type: ignore[index]
    for block in [module for module in network.modules() if isinstance(module, ResidualBlock)]:
        y = block(y)
    linear = network.get_submodule("head")[-1]  # type: ignore[index]
    torch.testing.assert_close(network(x), norm(y).relu().mean((2, 3)) @ linear.weight.T + linear.bias)


@pytest.mark.parametrize("images", [Images(), Images((3, 32, 32), 100), Images((2, 9, 14), 3)], ids=str)
def test_any_size_and_number_of_classes(images: Images) -> None:
    logits = built(read(WRITTEN), images)(batch(images))
    assert logits.shape == (2, images.classes) and logits.isfinite().all()


@pytest.mark.parametrize("shape", [(1, 7, 9), (3, 32, 4)])
def test_too_small_an_input_is_refused(shape: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match=f"nasbench201 needs inputs of 8x8 or more, but got {shape[1]}x{shape[2]}"):
        built(read(WRITTEN), Images(shape))


@pytest.mark.parametrize("present", ["".join(bits) for bits in itertools.product("01", repeat=6)])
def test_degenerate_cells_are_those_whose_output_ignores_the_input(present: str) -> None:
    rng = Random(present)
    decided = architecture(*(rng.choice(OPERATIONS[1:]) if edge == "1" else "none" for edge in present))
    network = built(decided).double().eval()
    with torch.no_grad():
        one, other = network(batch(Images()).double())
    assert degenerate(decided) == torch.allclose(one, other, rtol=1e-9)


def test_there_are_341_degenerate_cells() -> None:
    """Without 0→3 (else a path): 125 with neither 0→1 nor 0→2, 36 and 100 with one of them, 80 with both."""
    cells = [architecture(*operations) for operations in itertools.product(OPERATIONS, repeat=6)]
    assert sum(map(degenerate, cells)) == 125 + 36 + 100 + 80


def test_degenerate_cells_were_trained_to_chance() -> None:
    accuracies = [row["test_accuracy"] for row in table() if degenerate(read(row["arch"]))]
    assert Counter(map(float, accuracies)) == {10.0: 341}


@pytest.mark.parametrize(
    ("text", "constant"),
    [
        (WRITTEN, False),
        ("|none~0|+|nor_conv_1x1~0|none~1|+|none~0|nor_conv_3x3~1|skip_connect~2|", False),
        ("|nor_conv_3x3~0|+|none~0|avg_pool_3x3~1|+|none~0|none~1|nor_conv_1x1~2|", False),
        ("|nor_conv_3x3~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|none~1|none~2|", True),
        ("|none~0|+|nor_conv_1x1~0|nor_conv_3x3~1|+|none~0|nor_conv_3x3~1|none~2|", True),
    ],
)
def test_the_gradient_reaches_the_stem_unless_the_output_is_constant(text: str, constant: bool) -> None:
    network = built(read(text))
    functional.cross_entropy(network(batch(Images(), 8)), torch.arange(8)).backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)
    assert gradients[0] is not None
    assert bool(gradients[0].any()) is not constant


def test_weights_are_drawn_for_a_relu_before_them_where_there_is_one() -> None:
    for name, module in built(read(WRITTEN), CIFAR).named_modules():
        if isinstance(module, nn.Conv2d):
            linear = name.startswith("stem") or "shortcut" in name
            scale = (module.weight[0].numel() * module.weight.detach().square().mean()).item()
            assert scale == pytest.approx(1 if linear else 2, rel=0.3), name


def test_a_network_exports() -> None:
    network, x = built(read(WRITTEN)).eval(), batch(Images())
    torch.testing.assert_close(torch.export.export(network, (x,)).module()(x), network(x))
