"""The space kan_vision: convolutional and Kolmogorov-Arnold image classifiers, with their training.

A network is a stem, one to four stages and a head. A stage first brings the maps to its width, and from the
second stage on to half their size, then repeats one kind of block. The head pools the maps to a vector and
classifies it. Works for any input from 8x8 up.

Each layer is told the gain of the function before it, 1/E[f(z)²]: that of the stage's activation from the second
block on where the wiring is plain, and of the identity after the convolution that begins a stage and after the other
wirings, which hand on their input beside the activation.

Widths, depths and the number of stages may be mixtures too. Then everything is built at the largest, and each possible
number of stages has a head of its own.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from search_spaces.activations.recurrent_rational import share
from search_spaces.decisions import Architecture, Choice, Integer, Real, Repeat, Struct, changeable, mixable
from search_spaces.layers.convolution import LINEAR, convolution
from search_spaces.mixtures.answers import MIXTURE, Mixture
from search_spaces.mixtures.sizes import gated, items, largest, lengths, masked
from search_spaces.moments import gain
from search_spaces.registry import Entry, add, choice, make
from search_spaces.space import Signature, Space

SUMMARY = "image classifiers of convolutional and Kolmogorov-Arnold stages, with their training"
Size = tuple[int, int]
SMALLEST = 8
HALVED_FROM = 4

STAGE = Struct(
    depth=mixable(Integer(1, 3)),
    width=mixable(Integer(8, 48, step=8)),
    layer=choice("layer"),
    norm=choice("norm"),
    activation=choice("activation"),
    wiring=choice("wiring"),
    sparsity=choice("sparsity"),
)

NETWORK = Struct(
    stem=Struct(layer=choice("stem"), width=mixable(Integer(8, 32, step=8)), norm=choice("norm")),
    stages=mixable(Repeat(STAGE, 1, 4)),
    head=Struct(pool=choice("pool"), dropout=Real(0.0, 0.5), layer=choice("head")),
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
    batch=changeable(Choice(32, 64, 128)),
    schedule=Choice("cosine", "linear"),
    warmup=Real(0.0, 0.3),
    label_smoothing=changeable(Real(0.0, 0.2)),
    augmentation=changeable(Choice("none", "shift", mixup=Struct(alpha=changeable(Real(0.1, 1.0))))),
)

MIXTURES = {
    "network.stages[*].depth": MIXTURE,
    "network.stages[*].layer": Mixture("conv2d", "depthwise_separable", "kan_linear"),
    "network.stages[*].activation": Mixture("gelu", "relu", "silu"),
    "network.stages[*].wiring": MIXTURE,
}


def build(architecture: Architecture, signature: Signature) -> nn.Module:
    """Build the network: [batch, channels, height, width] to logits [batch, classes].

    Raises ValueError when the input is smaller than 8x8.
    """
    decided = architecture["network"]
    channels, height, width = signature.input_shape
    if min(height, width) < SMALLEST:
        raise ValueError(f"kan_vision needs inputs of 8x8 or more, but got {height}x{width}")
    stride = 4 if min(height, width) >= 128 else 2 if min(height, width) >= 64 else 1
    stem = _stem(decided["stem"], channels, stride)
    size, channels, before = _strided((height, width), stride), largest(decided["stem"]["width"]), LINEAR
    stages, ends = [], {}
    for i, stage in enumerate(items(decided["stages"]), 1):
        stride = 2 if i > 1 and min(size) >= HALVED_FROM else 1
        built, before = _stage(stage, channels, stride, before)
        stages.append(built)
        size, channels = _strided(size, stride), largest(stage["width"])
        ends[i] = channels, size
    heads = {n: _head(decided["head"], *ends[n], signature.classes) for n in lengths(decided["stages"])}
    parts = OrderedDict[str, nn.Module](stem=stem, stages=nn.Sequential(gated(stages, decided["stages"], ends=heads)))
    if len(heads) == 1:
        parts["head"] = heads.popitem()[1]
    network = nn.Sequential(parts)
    share(network)
    return network


def _stem(decided: Architecture, channels: int, stride: int) -> nn.Module:
    width = largest(decided["width"])
    stem = make("stem", decided["layer"], channels, width, stride, LINEAR)
    return masked(nn.Sequential(stem, make("norm", decided["norm"], width)), decided["width"])


def _stage(decided: Architecture, channels: int, stride: int, before: float) -> tuple[nn.Module, float]:
    """Build a stage after maps of `channels` and gain `before`; return it with the gain that it leaves behind."""
    width, parts, blocks = largest(decided["width"]), OrderedDict[str, nn.Module](), []
    if stride > 1 or channels != decided["width"]:
        entry = nn.Sequential(
            convolution(channels, width, 3, stride=stride, gain=before), make("norm", decided["norm"], width)
        )
        parts["entry"], before = masked(entry, decided["width"]), LINEAR
    plain = decided["wiring"] == "plain"
    after = gain(make("activation", decided["activation"], width), width) if plain else LINEAR
    for _ in range(largest(decided["depth"])):
        block = make("wiring", decided["wiring"], _block(decided, width, before), width)
        blocks.append(masked(block, decided["width"]))
        before = after
    stage = nn.Sequential(parts | gated(blocks, decided["depth"], "block{}"))
    make("sparsity", decided["sparsity"])(stage)
    return stage, before


def _block(decided: Architecture, width: int, before: float) -> nn.Module:
    return nn.Sequential(
        make("layer", decided["layer"], width, width, before),
        make("norm", decided["norm"], width),
        make("activation", decided["activation"], width),
    )


def _head(decided: Architecture, channels: int, size: Size, classes: int) -> nn.Module:
    pool = make("pool", decided["pool"], channels, size)
    layer = make("head", decided["layer"], pool.out_features, classes)
    return nn.Sequential(OrderedDict(pool=pool, dropout=nn.Dropout(decided["dropout"]), layer=layer))


def _strided(size: Size, stride: int) -> Size:
    return -(-size[0] // stride), -(-size[1] // stride)


SPACE = Space("kan_vision", SUMMARY, Struct(network=NETWORK, training=TRAINING), build, mixtures=MIXTURES)
add(Entry("space", SPACE.name, lambda: SPACE, SUMMARY))
