"""Architectures of kan_vision that differ in single decisions, parents after a few steps of training, their heirs."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from nas.training.inherit import inherit
from search_spaces.decisions import Architecture, drawing, resolve
from search_spaces.registry import find
from search_spaces.space import Shape, find_space

torch.set_num_threads(1)

SPACE = find_space("kan_vision")
IMAGES = Shape((1, 8, 8), 10)
TRAINING = {
    "optimizer": {"adamw": {"rate": 0.01, "weight_decay": 0.01}},
    "batch": 64,
    "schedule": "cosine",
    "warmup": 0.1,
    "label_smoothing": 0.0,
    "augmentation": "none",
}


def vision(
    stem: int = 16,
    widths: tuple[int, ...] = (16,),
    depths: tuple[int, ...] = (1,),
    stem_layer: Any = "convolution",
    stem_norm: str = "batch",
    pool: Any = None,
    head: Any = "linear",
    **stage: Any,
) -> Architecture:
    """Return an architecture whose stages differ in width and depth alone; the last depth holds for the others."""
    common = {"layer": "conv2d", "norm": "batch", "activation": "relu", "wiring": "residual", "sparsity": "dense"}
    depths = depths + depths[-1:] * len(widths)
    stages = [common | stage | {"width": w, "depth": d} for w, d in zip(widths, depths, strict=False)]
    stem_part = {"layer": stem_layer, "width": stem, "norm": stem_norm}
    head_part = {"pool": pool or {"average": {"cells": 2}}, "dropout": 0.1, "layer": head}
    return {"network": {"stem": stem_part, "stages": stages, "head": head_part}, "training": TRAINING}


def chosen(kind: str, name: str, seed: int = 0) -> Any:
    """Return what an architecture holds for a component, its options drawn."""
    options = find(kind, name).options
    return {name: resolve(options, drawing(Random(seed)))[0]} if options.fields else name


def images(count: int = 16, seed: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, *IMAGES.input_shape, generator=generator, dtype=torch.float64)


def parent(architecture: Architecture, steps: int = 4) -> nn.Module:
    """Return a network that has left its initialisation: norms with statistics, every trainable number moved."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = SPACE.build(architecture, IMAGES).double().train()
        step(network, steps)
    return network.eval()


def step(network: nn.Module, steps: int = 1) -> None:
    """Take steps of gradient descent in training mode."""
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05)
    for i in range(steps):
        loss = F.cross_entropy(network.train()(images(seed=i)), torch.arange(16) % 10)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()


def heir(before: Architecture, after: Architecture, network: nn.Module | None = None) -> tuple[nn.Module, nn.Module]:
    """Return a parent and its child, both in evaluation."""
    network = network or parent(before)
    return network, inherit(SPACE, IMAGES, before, network.state_dict(), after, 3).eval()


@torch.no_grad()
def difference(one: nn.Module, other: nn.Module) -> float:
    """Return the greatest difference of the logits, in deviations of them."""
    first, second = one(images()), other(images())
    return float((first - second).abs().max() / first.std())


def modules(network: nn.Module, kind: type) -> Iterator[Any]:
    return (module for module in network.modules() if isinstance(module, kind))
