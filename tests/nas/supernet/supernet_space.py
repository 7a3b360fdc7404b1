"""A small space of registered components and a small task, for tests of supernets."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search_spaces.decisions import Choice, Integer, Real, Repeat, Struct
from search_spaces.layers.convolution import convolution
from search_spaces.limits import limited
from search_spaces.registry import choice, make
from search_spaces.space import Signature, Space

torch.set_num_threads(1)


def build(architecture: Any, signature: Signature) -> nn.Module:
    decided = architecture["network"]
    channels, height, width = signature.input_shape
    parts = OrderedDict[str, nn.Module](stem=convolution(channels, decided["stem"], 3))
    if decided["stem"] != decided["width"]:
        parts["entry"] = convolution(decided["stem"], decided["width"], 1)
    for i, block in enumerate(decided["blocks"]):
        parts[f"block{i}"] = make("wiring", block["wiring"], body(block, decided["width"]), decided["width"])
    pool = make("pool", decided["pool"], decided["width"], (height, width))
    head = make("head", decided["head"], pool.out_features, signature.classes)
    parts["last"] = nn.Sequential(pool, nn.Dropout(0.1), head)
    return nn.Sequential(parts)


def body(block: Any, width: int) -> nn.Module:
    if block["layer"] == "impossible":
        raise ValueError("this layer cannot be built")
    layer = Broken() if block["layer"] == "broken" else make("layer", block["layer"], width, width, 2.0)
    return nn.Sequential(layer, make("norm", block["norm"], width), nn.ReLU())


class Broken(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.nan


def space(*extra: str) -> Space:
    layers = choice("layer", "conv2d", "linear", "kan_linear", "depthwise_separable")
    block = Struct(
        layer=Choice(*(o for o in layers.options if o not in layers.inner), *extra, **dict(layers.inner)),  # type: ignore[arg-type]
        norm=choice("norm", "batch", "none"),
        wiring=choice("wiring"),
    )
    network = Struct(
        stem=Integer(4, 8, step=4),
        width=Integer(4, 8, step=4),
        blocks=Repeat(block, 1, 2),
        pool=choice("pool", "average"),
        head=choice("head", "linear", "kan_linear"),
    )
    training = Struct(rate=Real(0.01, 0.1))
    return Space("toy", "a few blocks", Struct(network=network, training=training), build)


TOY = space()
SMALL = limited(
    TOY,
    [
        "network.blocks[*].layer=conv2d,linear",
        "network.blocks[*].norm=batch",
        "network.blocks[*].wiring=plain,residual",
        "network.pool:average.cells=1",
        "network.head=linear",
    ],
)


def block(layer: Any = "conv2d", norm: str = "batch", wiring: str = "plain") -> dict[str, Any]:
    return {"layer": layer, "norm": norm, "wiring": wiring}


def architecture(*blocks: Any, stem: int = 8, width: int = 8, cells: int = 1, head: Any = "linear") -> dict[str, Any]:
    network = {"stem": stem, "width": width, "blocks": list(blocks or (block(),))}
    return {"network": network | {"pool": {"average": {"cells": cells}}, "head": head}, "training": {"rate": 0.05}}


@dataclass(frozen=True)
class Patterns:
    """Three patterns of 4x4 pixels in noise."""

    split_seed: int = 0
    name: ClassVar[str] = "patterns"
    input_shape: ClassVar[tuple[int, int, int]] = (1, 4, 4)
    classes: ClassVar[int] = 3
    blank: ClassVar[float] = 0.0

    @property
    def content(self) -> str:
        return f"patterns {self.split_seed}"

    def train(self) -> tuple[Tensor, Tensor]:
        return self._samples(1, 96)

    def validation(self) -> tuple[Tensor, Tensor]:
        return self._samples(2, 60)

    def test(self) -> tuple[Tensor, Tensor]:
        return self._samples(3, 60)

    def _samples(self, part: int, count: int) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(self.split_seed)
        patterns = torch.randn(3, 1, 4, 4, generator=generator)
        generator.manual_seed(100 * self.split_seed + part)
        targets = torch.randint(3, (count,), generator=generator)
        return patterns[targets] + 0.7 * torch.randn(count, 1, 4, 4, generator=generator), targets


TASK = Patterns()
