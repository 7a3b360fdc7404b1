"""The space kan_vision: convolutional and Kolmogorov-Arnold image classifiers, with their training.

A network is a stem, one to four stages and a head. A stage first brings the maps to its width, and from the
second stage on to half their size, then repeats one kind of block. The head averages the maps to `pool` by
`pool` cells and classifies them. Works for any input from 8x8 up.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from search_spaces.decisions import Architecture, Choice, Integer, Real, Repeat, Struct, changeable
from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.registry import Entry, add, choice, make
from search_spaces.space import Signature, Space

SUMMARY = "image classifiers of convolutional and Kolmogorov-Arnold stages, with their training"
Size = tuple[int, int]
SMALLEST = 8
HALVED_FROM = 4

STAGE = Struct(
    depth=Integer(1, 3),
    width=Integer(8, 48, step=8),
    layer=choice("layer"),
    norm=choice("norm"),
    activation=choice("activation"),
    wiring=choice("wiring"),
    sparsity=choice("sparsity"),
)

NETWORK = Struct(
    stem=Struct(width=Integer(8, 32, step=8), norm=choice("norm")),
    stages=Repeat(STAGE, 1, 4),
    head=Struct(pool=Choice(1, 2, 4), dropout=Real(0.0, 0.5)),
)

TRAINING = Struct(
    optimizer=Choice(
        adamw=Struct(
            rate=changeable(Real(5e-4, 3e-2, log=True)),
            weight_decay=changeable(Real(1e-5, 1e-1, log=True)),
        ),
        sgd=Struct(
            rate=changeable(Real(1e-2, 5e-1, log=True)),
            momentum=changeable(Real(0.7, 0.98)),
            weight_decay=changeable(Real(1e-6, 1e-2, log=True)),
        ),
    ),
    batch=Choice(32, 64, 128),
    schedule=Choice("cosine", "linear"),
    warmup=Real(0.0, 0.3),
    label_smoothing=changeable(Real(0.0, 0.2)),
    augmentation=Choice("none", "shift", mixup=Struct(alpha=changeable(Real(0.1, 1.0)))),
)


def build(architecture: Architecture, signature: Signature) -> nn.Module:
    """Build the network: [batch, channels, height, width] to logits [batch, classes].

    Raises ValueError when the input is smaller than 8x8.
    """
    decided = architecture["network"]
    channels, height, width = signature.input_shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"kan_vision needs inputs of 8x8 or more, but got {height}x{width}")
    stride = 4 if min(height, width) >= 128 else 2 if min(height, width) >= 64 else 1
    stem = _entry(channels, decided["stem"]["width"], stride, decided["stem"]["norm"])
    size, channels = _strided((height, width), stride), decided["stem"]["width"]
    stages = []
    for i, stage in enumerate(decided["stages"]):
        stride = 2 if i and min(size) >= HALVED_FROM else 1
        stages.append(_stage(stage, channels, stride))
        size, channels = _strided(size, stride), stage["width"]
    head = _head(decided["head"], channels, size, signature.classes)
    return nn.Sequential(OrderedDict(stem=stem, stages=nn.Sequential(*stages), head=head))


def _stage(decided: Architecture, channels: int, stride: int) -> nn.Module:
    width = decided["width"]
    parts = [] if stride == 1 and channels == width else [_entry(channels, width, stride, decided["norm"])]
    parts += [make("wiring", decided["wiring"], _block(decided, width), width) for _ in range(decided["depth"])]
    stage = nn.Sequential(*parts)
    make("sparsity", decided["sparsity"])(stage)
    return stage


def _block(decided: Architecture, width: int) -> nn.Module:
    return nn.Sequential(
        make("layer", decided["layer"], width, width),
        make("norm", decided["norm"], width),
        make("activation", decided["activation"], width),
    )


def _entry(channels_in: int, channels_out: int, stride: int, norm: Architecture) -> nn.Module:
    kernel = {1: 3, 2: 3, 4: 7}[stride]
    return nn.Sequential(
        convolution(channels_in, channels_out, kernel, stride=stride, gain=LINEAR), make("norm", norm, channels_out)
    )


def _head(decided: Architecture, channels: int, size: Size, classes: int) -> nn.Module:
    cells = [min(decided["pool"], side) for side in size]
    # The windows of adaptive pooling where they are even, and unlike it known to every export format.
    strides = [side // n for side, n in zip(size, cells, strict=True)]
    windows = [side - (n - 1) * stride for side, n, stride in zip(size, cells, strides, strict=True)]
    return nn.Sequential(
        nn.AvgPool2d((windows[0], windows[1]), (strides[0], strides[1])),
        nn.Flatten(),
        nn.Dropout(decided["dropout"]),
        nn.Linear(channels * cells[0] * cells[1], classes),
    )


def _strided(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)


SPACE = Space("kan_vision", SUMMARY, Struct(network=NETWORK, training=TRAINING), build)
add(Entry("space", SPACE.name, lambda: SPACE, SUMMARY))
