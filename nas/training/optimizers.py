"""Optimizers whose hyperparameters are those of a recipe, whatever they remember of an earlier one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from nas.training.recipe import Recipe


def make_optimizer(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the optimizer, with weight decay on parameters of two and more dimensions only."""
    name, options = recipe.optimizer
    trained = [p for p in network.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": options["weight_decay"]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    groups = [group for group in groups if group["params"]]
    fused = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in trained)
    if name == "adamw":
        return torch.optim.AdamW(groups, lr=options["rate"], fused=fused)
    momentum = options["momentum"]
    return torch.optim.SGD(groups, lr=options["rate"], momentum=momentum, nesterov=momentum > 0, fused=fused)


def follow(optimizer: torch.optim.Optimizer, recipe: Recipe) -> None:
    """Give an optimizer the hyperparameters of a recipe that names the same kind; the rate is set step by step."""
    _, options = recipe.optimizer
    for group in optimizer.param_groups:
        group["weight_decay"] = options["weight_decay"] if group["params"][0].ndim > 1 else 0.0
        if "momentum" in group:
            group["momentum"] = options["momentum"]
            group["nesterov"] = options["momentum"] > 0


def restore(optimizer: torch.optim.Optimizer, saved: Mapping[str, Any]) -> None:
    """Take over what an optimizer of the same kind remembers of each parameter, and none of its hyperparameters."""
    own = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": saved["state"], "param_groups": own})
