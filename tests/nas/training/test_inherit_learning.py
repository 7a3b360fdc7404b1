"""Heirs of networks that have learned the digits: where they start, on the validation split, and that they learn."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import torch
from heirs import SPACE, vision
from torch import Tensor, nn
from torch.nn import functional as F

from nas.tasks import find_task
from nas.training.inherit import inherit
from search_spaces.decisions import Architecture

TASK = find_task("digits")
BEFORE: dict[str, Any] = {"stem": 8, "widths": (24, 24)}
SAME = [
    {"widths": (40, 48)},
    {"depths": (2, 3)},
    {"activation": {"group_rational": {"init": "silu"}}},
    {"stem": 16, "widths": (32, 48), "depths": (2, 1)},
]
NEAR = [{"widths": (16, 24)}, {"activation": "gelu"}, {"stem": 24}]


def learn(network: nn.Module, epochs: int) -> nn.Module:
    inputs, targets = TASK.train()
    optimizer = torch.optim.AdamW(network.train().parameters(), lr=0.01)
    order = torch.Generator().manual_seed(0)
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs), generator=order).split(64):
            loss = F.cross_entropy(network(inputs[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
    return network


@torch.no_grad()
def accuracy(network: nn.Module) -> float:
    inputs, targets = TASK.validation()
    return float((network.eval()(inputs).argmax(1) == targets).double().mean())


def fresh(architecture: Architecture) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return SPACE.build(architecture, TASK)


@cache
def learned() -> tuple[dict[str, Tensor], float]:
    network = learn(fresh(vision(**BEFORE)), 5)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    return state, accuracy(network)


def child_of(change: dict[str, Any]) -> nn.Module:
    return inherit(SPACE, TASK, vision(**BEFORE), learned()[0], vision(**BEFORE | change), 1)


@pytest.mark.slow
@pytest.mark.parametrize("change", SAME, ids=str)
def test_an_heir_starts_where_its_parent_is_and_a_fresh_network_does_not(change: dict[str, Any]) -> None:
    assert learned()[1] > 0.9
    assert accuracy(child_of(change)) == pytest.approx(learned()[1], abs=0.01)
    assert accuracy(fresh(vision(**BEFORE | change))) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("change", NEAR, ids=str)
def test_an_heir_of_another_function_starts_nearer_than_a_fresh_network(change: dict[str, Any]) -> None:
    assert accuracy(child_of(change)) > 0.6
    assert accuracy(fresh(vision(**BEFORE | change))) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize("change", [*SAME, *NEAR], ids=str)
def test_an_heir_learns_on(change: dict[str, Any]) -> None:
    assert accuracy(learn(child_of(change), 2)) > 0.9
