"""Baselines: what a network costs, taken as a sign of how well it will do. More is said to be better."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from nas.training import measures
from predictors import Batch, Loss, Predictor


def _measure(name: str, network: nn.Module, batch: Batch, loss: Loss) -> dict[str, float]:
    with torch.no_grad():
        sample = batch.inputs[:1].clone()  # a view would hold the whole batch in memory
        return {name: float(measures.MEASURES[name](network.eval(), sample))}


def _baseline(name: str, about: str, cost: str) -> Predictor:
    return Predictor(name, about, partial(_measure, name), cost=cost)


BASELINES = (
    _baseline("params", "Params: trainable weights that no mask holds at zero, as a baseline.", "a count"),
    _baseline(
        "latency",
        "Latency: median milliseconds of one sample's forward pass on the network's device, as a baseline.",
        f"{measures.WARM_UPS + measures.FORWARDS} forward passes of one sample",
    ),
    _baseline(
        "memory",
        "Memory: peak bytes of weights and activations in one sample's forward pass, as a baseline.",
        "a forward pass of one sample",
    ),
)
