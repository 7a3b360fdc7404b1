"""What components learn: KANs and perceptrons on formulas, and every activation and basis on handwritten digits."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from nas.tasks import find_task
from nas.training.loop import train
from nas.training.seeding import seeded
from search_spaces.bases.bspline import BSpline
from search_spaces.decisions import Architecture
from search_spaces.layers.kan import KanLinear
from search_spaces.registry import find
from search_spaces.space import find_space

Formula = tuple[int, Callable[..., Tensor]]

# From the paper on KANs: three of its first examples, and two of its formulas of physics, on [-1, 1]^d.
FORMULAS: dict[str, Formula] = {
    "J0(20x)": (1, lambda x: torch.special.bessel_j0(20 * x)),
    "exp(sin(pi x) + y^2)": (2, lambda x, y: torch.exp(torch.sin(math.pi * x) + y**2)),
    "xy": (2, lambda x, y: x * y),
    "exp((sin(pi(a^2+b^2)) + sin(pi(c^2+d^2)))/2)": (
        4,
        lambda a, b, c, d: torch.exp((torch.sin(math.pi * (a**2 + b**2)) + torch.sin(math.pi * (c**2 + d**2))) / 2),
    ),
    "(x + y)/(1 + 0.9xy)": (2, lambda x, y: (x + y) / (1 + 0.9 * x * y)),
    "exp(-x^2/(2s^2))/s, s = 1.2 + y": (2, lambda x, y: torch.exp(-(x**2) / (2 * (1.2 + y) ** 2)) / (1.2 + y)),
}
POINTS, STEPS = 1000, 1500
RATES = (1e-3, 3e-3, 1e-2, 3e-2)
HIDDEN, INTERVALS = 6, 10

EPOCHS = 8
WIDTH = 16
TRAINING: Architecture = {
    "optimizer": {"adamw": {"rate": 3e-3, "weight_decay": 1e-2}},
    "batch": 64,
    "schedule": "cosine",
    "warmup": 0.1,
    "label_smoothing": 0.0,
    "augmentation": "none",
}


def errors(kind: str, formula: str, seeds: int) -> list[float]:
    """Return the test RMSE of each seed, as a share of the target's deviation.

    Points are drawn evenly: 1,000 to train, to choose Adam's rate among four, and to test. All of them are trained
    for 1,500 steps of the full batch, with a rate that falls to 0 by a cosine.
    """
    found = []
    for seed in range(seeds):
        tried = [fit(kind, formula, seed, rate) for rate in RATES]
        found.append(min(tried)[1])
    return found


def size(kind: str, formula: str) -> int:
    return sum(p.numel() for p in network(kind, FORMULAS[formula][0]).parameters())


def network(kind: str, inputs: int) -> nn.Module:
    """Make a KAN of two hidden layers, or a perceptron with SiLU of two hidden layers and as many parameters."""
    if kind == "KAN":
        widths = [inputs, HIDDEN, HIDDEN, 1]
        return nn.Sequential(*(KanLinear(a, b, BSpline(INTERVALS)) for a, b in itertools.pairwise(widths)))
    wanted = sum(p.numel() for p in network("KAN", inputs).parameters())
    width = round((math.sqrt((inputs + 3) ** 2 + 4 * (wanted - 1)) - (inputs + 3)) / 2)
    return nn.Sequential(nn.Linear(inputs, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 1))


def fit(kind: str, formula: str, seed: int, rate: float) -> tuple[float, float]:
    """Train once; return the RMSE on the points to choose by and on those to test with."""
    inputs, function = FORMULAS[formula]
    torch.set_num_threads(1)
    with seeded(seed):
        x = 2 * torch.rand(3, POINTS, inputs) - 1
        y = function(*x.unbind(-1))
        y = (y - y[0].mean()) / y[0].std()
        model = network(kind, inputs)
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    for _ in range(STEPS):
        optimizer.zero_grad()
        (model(x[0])[:, 0] - y[0]).square().mean().backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        chosen, tested = (float((model(x[i])[:, 0] - y[i]).square().mean().sqrt()) for i in (1, 2))
    return chosen, tested


def digits(kind: str, name: str, seed: int, epochs: int) -> tuple[float, float]:
    """Train the same small network of kan_vision with one component; return validation accuracy and seconds an epoch.

    Two stages of one block each, 16 channels, batch normalisation and residual wiring. Activations follow 3x3
    convolutions; bases are those of 3x3 KAN convolutions with SiLU after them. Split seed 0; test data stay unseen.
    """
    torch.set_num_threads(1)
    space, task = find_space("kan_vision"), find_task("digits")
    with seeded(seed):
        network = space.build(architecture(kind, name), task)
    reports = list(train(network, task, TRAINING, epochs, seed))
    return reports[-1].metrics["val_accuracy"], statistics.median(each.metrics["seconds"] for each in reports)


def architecture(kind: str, name: str) -> Architecture:
    chosen = named(kind, name)
    stage: dict[str, Any] = {
        "depth": 1,
        "width": WIDTH,
        "layer": {"kan_conv2d": {"basis": chosen}} if kind == "basis" else "conv2d",
        "norm": "batch",
        "activation": chosen if kind == "activation" else "silu",
        "wiring": "residual",
        "sparsity": "dense",
    }
    stem = {"layer": "convolution", "width": WIDTH, "norm": "batch"}
    head = {"pool": {"average": {"cells": 2}}, "dropout": 0.0, "layer": "linear"}
    return {"network": {"stem": stem, "stages": [stage, stage], "head": head}, "training": TRAINING}


def named(kind: str, name: str) -> Architecture:
    """Write a component with the defaults of all its options."""
    import inspect

    options = find(kind, name).options.fields
    defaults = inspect.signature(find(kind, name).make).parameters
    return {name: {option: defaults[option].default for option in options}} if options else name
