"""The space nasbench201: the cells of NAS-Bench-201 (NATS-Bench calls it its topology space), without training.

NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search (Dong and Yang, 2020). A cell has the
nodes 0 to 3: node 0 is its input, each later node the sum of one operation on every node before it, and node 3 its
output. The network repeats one cell:

    cell     six edges 0→1, 0→2, 1→2, 0→3, 1→3, 2→3 of five operations each: 15,625 cells
    stem     convolution 3x3 to 16 channels, norm
    stages   5 cells of 16 channels; residual block to half the side; 5 cells of 32; another block; 5 cells of 64
    head     norm, ReLU, mean over all places, linear

A residual block adds two times ReLU, convolution 3x3, norm to a convolution 1x1 of the means over 2x2 places. Norms are
batch normalisations with scale and shift; convolutions have no bias. The operation `none` hands on zeros, so some
cells make a network of constant output: `degenerate` recognises them.

Published tables of results name a cell as `NOTATION` does and give its accuracies after training, `params`, all
trainable weights, and `flops`, the multiplications (each with its addition counted once) of convolutions and of the
linear layer; norms, pools, ReLUs, sums and biases count nothing. Both are for 10 classes and inputs of 3x32x32.

Convolutions draw their weights as elsewhere in the house, from N(0, gain/fan_in) with gain 2 after a ReLU and else 1.
Any input from 8x8 up will do: a residual block makes ⌈n/2⌉ of a side of n.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from functools import reduce

import torch
from torch import Tensor, nn

from search_spaces.decisions import Architecture, Choice, DecisionError, Struct
from search_spaces.layers.convolution import LINEAR, RECTIFIED, convolution
from search_spaces.registry import Entry, add
from search_spaces.space import Notation, Shape, Signature, Space

SUMMARY = "the cells of NAS-Bench-201, whose trained accuracies are published"
OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
OUTPUT = 3
EDGES = {f"edge_{source}_{node}": (source, node) for node in range(1, OUTPUT + 1) for source in range(node)}
WIDTHS = (16, 32, 64)
CELLS = 5
SMALLEST = 8


def build(architecture: Architecture, signature: Signature) -> nn.Module:
    """Build the network: [batch, channels, height, width] to logits [batch, classes].

    Raises ValueError when the input is smaller than 8x8.
    """
    channels, height, width = signature.input_shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"nasbench201 needs inputs of 8x8 or more, but got {height}x{width}")
    decided, first, last = architecture["network"]["cell"], WIDTHS[0], WIDTHS[-1]
    stem = nn.Sequential(_unbiased(channels, first, 3, gain=LINEAR), nn.BatchNorm2d(first))
    parts: list[nn.Module] = []
    for before, after in zip((first, *WIDTHS), WIDTHS, strict=False):
        parts += [ResidualBlock(before, after)] if before != after else []
        parts += [Cell(decided, after) for _ in range(CELLS)]
    pool = [nn.BatchNorm2d(last), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    head = nn.Sequential(*pool, nn.Linear(last, signature.classes))
    return nn.Sequential(OrderedDict(stem=stem, stages=nn.Sequential(*parts), head=head))


class Cell(nn.Module):
    """Node j is the sum over i < j of edge_i_j(node i), node 0 the input and node 3 the output; shapes are kept."""

    def __init__(self, decided: Architecture, channels: int) -> None:
        super().__init__()
        self.edges = nn.ModuleDict({edge: _operation(decided[edge], channels) for edge in EDGES})

    def forward(self, x: Tensor) -> Tensor:
        nodes = [x]
        for node in range(1, OUTPUT + 1):
            nodes.append(reduce(torch.add, [self.edges[f"edge_{i}_{node}"](nodes[i]) for i in range(node)]))
        return nodes[-1]


class Zeros(nn.Module):
    """0·x, so that all weights before it keep a gradient, which is zero; shapes are kept."""

    def forward(self, x: Tensor) -> Tensor:
        return 0 * x


class ResidualBlock(nn.Module):
    """Halves the maps: [batch, channels_in, h, w] to [batch, channels_out, ⌈h/2⌉, ⌈w/2⌉]."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _relu_convolution(channels_in, channels_out, 3, stride=2), _relu_convolution(channels_out, channels_out, 3)
        )
        # ceil_mode gives an odd side the length that the strided convolution gives it.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True), _unbiased(channels_in, channels_out, 1, gain=LINEAR)
        )

    def forward(self, x: Tensor) -> Tensor:
        added: Tensor = self.shortcut(x) + self.body(x)
        return added


def _operation(name: str, channels: int) -> nn.Module:
    if name == "none":
        return Zeros()
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return _relu_convolution(channels, channels, {"nor_conv_1x1": 1, "nor_conv_3x3": 3}[name])


def _relu_convolution(channels_in: int, channels_out: int, kernel: int, stride: int = 1) -> nn.Module:
    return nn.Sequential(
        nn.ReLU(),
        _unbiased(channels_in, channels_out, kernel, stride=stride, gain=RECTIFIED),
        nn.BatchNorm2d(channels_out),
    )


def _unbiased(channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, gain: float) -> nn.Conv2d:
    layer = convolution(channels_in, channels_out, kernel, stride=stride, gain=gain)
    layer.bias = None
    return layer


def degenerate(architecture: Architecture) -> bool:
    """Say whether the network's output is the same for every input: no path without `none` from node 0 to node 3."""
    decided, reached = architecture["network"]["cell"], {0}
    for edge, (source, node) in EDGES.items():
        if source in reached and decided[edge] != "none":
            reached.add(node)
    return OUTPUT not in reached


def write(architecture: Architecture) -> str:
    """Write a cell as |op~0|+|op~0|op~1|+|op~0|op~1|op~2|: for each node after the first, an operation~source each."""
    cell, written = architecture["network"]["cell"], []
    for node in range(1, OUTPUT + 1):
        written.append("|".join(f"{cell[f'edge_{source}_{node}']}~{source}" for source in range(node)))
    return "+".join(f"|{node}|" for node in written)


def read(text: str) -> Architecture:
    """Read a cell that `write` wrote; raises DecisionError for any other text."""
    operations = re.findall(r"(\w+)~", text)
    if len(operations) == len(EDGES) and set(operations) <= set(OPERATIONS):
        architecture = {"network": {"cell": dict(zip(EDGES, operations, strict=True))}}
        if write(architecture) == text:
            return architecture
    raise DecisionError(
        f"{text!r} is no cell of nasbench201, which are written |op~0|+|op~0|op~1|+|op~0|op~1|op~2| "
        f"with each op one of {', '.join(OPERATIONS)}"
    )


CELL = Struct(**{edge: Choice(*OPERATIONS) for edge in EDGES})
NOTATION = Notation(write, read)
TREE = Struct(network=Struct(cell=CELL))
SPACE = Space("nasbench201", SUMMARY, TREE, build, NOTATION, signature=Shape((3, 32, 32), 10), degenerate=degenerate)
add(Entry("space", SPACE.name, lambda: SPACE, SUMMARY))
