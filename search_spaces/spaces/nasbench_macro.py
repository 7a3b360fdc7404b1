"""The space nasbench_macro: the networks of NAS-Bench-Macro, without training.

Prioritized Architecture Sampling with Monto-Carlo Tree Search (Su et al., 2021). Eight layers of three kinds each make
6,561 networks:

    stem     convolution 3x3 to 32 channels, norm, ReLU
    layers   2 of 64 channels, 3 of 128 and 3 of 256; the first of each stage halves the side
    head     convolution 1x1 to 1,280 channels, norm, ReLU, mean over all places, linear

`mb3` and `mb6` are the inverted bottlenecks of MobileNetV2 with a kernel of 3 and 3 times the channels inside, and
with a kernel of 5 and 6 times the channels: convolution 1x1, norm, ReLU, convolution of each channel by itself, norm,
ReLU, convolution 1x1, norm; their input is added where the shape is kept. `identity` hands on its input, and where
a stage begins it is a convolution 1x1 of stride 2 and a norm. Norms are batch normalisations; convolutions have no
bias. Within a stage, identities after the first layer can change places without changing the function.

Published tables of results name a network as `NOTATION` does and give its accuracies after training (three runs, their
mean and deviation), `params`, all trainable weights, and `flops`, the multiplications (each with its addition counted
once) of convolutions and of the linear layer; norms, means, ReLUs, sums and biases count nothing. Both are for 10
classes and inputs of 3x32x32. Networks that differ in places of identities alone share one result.

Convolutions draw their weights as elsewhere in the house, from N(0, 2/fan_in). Any input from 8x8 up will do: a stage
makes ⌈n/2⌉ of a side of n. Where that ends at one place (sides of 8), training needs batches of two or more.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from search_spaces.decisions import Architecture, Choice, DecisionError, Repeat, Struct
from search_spaces.layers.convolution import convolution
from search_spaces.registry import Entry, add
from search_spaces.space import Notation, Shape, Signature, Space

SUMMARY = "the networks of NAS-Bench-Macro, whose trained accuracies are published"
KINDS = ("identity", "mb3", "mb6")
STEM, WIDTHS, HEAD = 32, (64, 64, 128, 128, 128, 256, 256, 256), 1280
SMALLEST = 8


def build(architecture: Architecture, signature: Signature) -> nn.Module:
    """Build the network: [batch, channels, height, width] to logits [batch, classes].

    Raises ValueError when the input is smaller than 8x8.
    """
    channels, height, width = signature.input_shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"nasbench_macro needs inputs of 8x8 or more, but got {height}x{width}")
    kinds, sizes = architecture["network"]["layers"], zip((STEM, *WIDTHS), WIDTHS, strict=False)
    stem = nn.Sequential(*_normed(channels, STEM, 3), nn.ReLU())
    layers = nn.Sequential(*(_layer(kind, *size) for kind, size in zip(kinds, sizes, strict=True)))
    head = nn.Sequential(
        *_normed(WIDTHS[-1], HEAD, 1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(HEAD, signature.classes),
    )
    return nn.Sequential(OrderedDict(stem=stem, layers=layers, head=head))


class Bottleneck(nn.Module):
    """An inverted bottleneck (MobileNetV2), which adds its input where it keeps the shape.

    Shapes: [batch, channels_in, h, w] to the same, or to [batch, channels_out, ⌈h/2⌉, ⌈w/2⌉] where the widths differ.
    """

    def __init__(self, channels_in: int, channels_out: int, expansion: int, kernel: int) -> None:
        super().__init__()
        inside, self.kept = expansion * channels_in, channels_in == channels_out
        self.body = nn.Sequential(
            *_normed(channels_in, inside, 1),
            nn.ReLU(),
            *_normed(inside, inside, kernel, stride=1 if self.kept else 2, groups=inside),
            nn.ReLU(),
            *_normed(inside, channels_out, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.body(x)
        return x + y if self.kept else y


def _layer(kind: str, channels_in: int, channels_out: int) -> nn.Module:
    if kind != "identity":
        expansion, kernel = {"mb3": (3, 3), "mb6": (6, 5)}[kind]
        return Bottleneck(channels_in, channels_out, expansion, kernel)
    if channels_in == channels_out:
        return nn.Identity()
    return nn.Sequential(*_normed(channels_in, channels_out, 1, stride=2))


def _normed(
    channels_in: int, channels_out: int, kernel: int, *, stride: int = 1, groups: int = 1
) -> tuple[nn.Module, nn.Module]:
    layer = convolution(channels_in, channels_out, kernel, stride=stride, groups=groups)
    layer.bias = None
    return layer, nn.BatchNorm2d(channels_out)


def write(architecture: Architecture) -> str:
    """Write a network as eight digits, a layer each: 0 identity, 1 mb3, 2 mb6."""
    return "".join(str(KINDS.index(kind)) for kind in architecture["network"]["layers"])


def read(text: str) -> Architecture:
    """Read a network that `write` wrote; raises DecisionError for any other text."""
    if len(text) != len(WIDTHS) or not set(text) <= set("012"):
        raise DecisionError(
            f"{text!r} is no network of nasbench_macro, which are written as eight digits: "
            "0 for identity, 1 for mb3, 2 for mb6"
        )
    return {"network": {"layers": [KINDS[int(digit)] for digit in text]}}


NETWORK = Struct(layers=Repeat(Choice(*KINDS), len(WIDTHS), len(WIDTHS)))
NOTATION = Notation(write, read)
SPACE = Space("nasbench_macro", SUMMARY, Struct(network=NETWORK), build, NOTATION, signature=Shape((3, 32, 32), 10))
add(Entry("space", SPACE.name, lambda: SPACE, SUMMARY))
