"""The space digits_bench: 576 small convolutional classifiers, few enough that all of them have been trained.

A part of kan_vision with one stage and a fixed recipe. Its figures on the digits are the table `digits_bench`.
"""

from __future__ import annotations

from search_spaces.decisions import Choice, Integer, Real, Repeat, Struct
from search_spaces.registry import Entry, add, choice
from search_spaces.space import Space
from search_spaces.spaces.kan_vision import build

SUMMARY = "576 small convolutional classifiers, all of them trained in the table digits_bench"


def fixed(value: float) -> Real:
    """Return the decision that has one answer."""
    return Real(value, value)


STAGE = Struct(
    depth=Integer(1, 2),
    width=Integer(8, 16, step=4),
    layer=choice("layer", "conv2d", "depthwise_separable", "parameter_free", "linear", inner=False),
    norm=choice("norm", "none", "batch"),
    activation=choice("activation", "relu", "silu", "tanh", "crrelu", inner=False),
    wiring=choice("wiring", "plain", "residual", "dense"),
    sparsity=Choice("dense"),
)

NETWORK = Struct(
    stem=Struct(layer=Choice("convolution"), width=Integer(8, 8), norm=Choice("batch")),
    stages=Repeat(STAGE, 1, 1),
    head=Struct(pool=Choice(average=Struct(cells=Choice(2))), dropout=fixed(0.0), layer=Choice("linear")),
)

TRAINING = Struct(
    optimizer=Choice(adamw=Struct(rate=fixed(0.02), weight_decay=fixed(0.01))),
    batch=Choice(64),
    schedule=Choice("cosine"),
    warmup=fixed(0.0),
    label_smoothing=fixed(0.0),
    augmentation=Choice("none"),
)

SPACE = Space("digits_bench", SUMMARY, Struct(network=NETWORK, training=TRAINING), build)
add(Entry("space", SPACE.name, lambda: SPACE, SUMMARY))
