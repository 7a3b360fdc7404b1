from __future__ import annotations

import copy
import logging
import math
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from supernet_space import SMALL, TASK, TOY, architecture, block, space
from torch import Tensor, nn
from torch.nn import functional

from nas.job import Infeasible, Report
from nas.supernet.bank import Supernet
from nas.supernet.errors import SupernetError
from nas.supernet.sampling import sandwich
from nas.supernet.training import SupernetSettings, accumulate, train_supernet
from nas.training import checkpoint
from nas.training.loop import State
from nas.training.seeding import derive
from search_spaces.limits import limited

INPUTS, TARGETS = (part[:32] for part in TASK.train())
SANDWICH = SupernetSettings(rule="sorted_subnets", batch=32, between=1, rate=0.1)
ONE_SHOT = SupernetSettings(batch=32, rate=0.1)


def figures(reports: list[Report]) -> list[dict[str, float]]:
    return [{name: value for name, value in each.metrics.items() if name != "seconds"} for each in reports]


def grads(bank: Supernet) -> dict[str, Tensor]:
    return {key: tensor.grad.clone() for key, tensor in bank.tensors.items() if tensor.grad is not None}


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


def without_dropout(drawn: list[Any], bank: Supernet) -> list[Any]:
    paths = [bank.path(each) for each in drawn]
    for path in paths:
        path.network.last[1].p = 0.0  # type: ignore[union-attr, index]
    return paths


def test_the_gradient_of_a_sandwich_is_the_sum_of_the_separate_gradients() -> None:
    bank, apart = Supernet(TOY, TASK), Supernet(TOY, TASK)
    drawn = sandwich(TOY, Random(1), {}, 1)
    loss, used = accumulate(without_dropout(drawn, bank), INPUTS, TARGETS)
    summed: dict[str, Tensor] = {}
    losses = []
    for path in without_dropout(drawn, apart):
        losses.append(accumulate([path], INPUTS, TARGETS)[0])
        for key, grad in grads(apart).items():
            summed[key] = summed[key] + grad if key in summed else grad
            apart.tensors[key].grad = None
    assert loss == pytest.approx(sum(losses) / 3)
    assert {id(tensor) for tensor in used} == {id(bank.tensors[key]) for key in summed}
    for key, grad in grads(bank).items():
        torch.testing.assert_close(grad, summed[key], rtol=1e-4, atol=1e-7)


def test_distilled_subnetworks_learn_the_soft_outputs_of_the_largest() -> None:
    bank = Supernet(TOY, TASK)
    drawn = [architecture(block(norm="none"), stem=stem, width=width) for stem, width in ((8, 8), (4, 8), (8, 4))]
    paths = without_dropout(drawn, bank)
    loss, _ = accumulate(paths, INPUTS, TARGETS, distilled=True)
    large, *others = (path.run(INPUTS) for path in paths)
    hard, teacher = functional.cross_entropy(large, TARGETS), large.detach().softmax(1)
    soft = sum(-(teacher * logits.log_softmax(1)).sum(1).mean() for logits in others)
    assert loss == pytest.approx(float((hard + soft).detach()) / 3, rel=1e-5)
    found = grads(bank)
    for tensor in bank.tensors.values():
        tensor.grad = None
    (hard + soft).backward()
    for key, grad in grads(bank).items():
        torch.testing.assert_close(found[key], grad, rtol=1e-4, atol=1e-7)


def test_a_supernet_of_one_path_trains_as_the_network_does_by_itself() -> None:
    drawn = architecture(block("conv2d", wiring="residual"), block("linear", norm="none"))
    bank = Supernet(TOY, TASK, seed=4)
    network = bank.extract(drawn).train()
    settings = SupernetSettings(batch=32, rate=0.1, momentum=0.8, weight_decay=0.01, clip=0.5, probes=0)
    reports = list(train_supernet(bank, 2, settings, fixed=TOY.trace(drawn)))
    decayed, flat = ([p for p in network.parameters() if (p.ndim > 1) is wide] for wide in (True, False))
    optimizer = torch.optim.SGD(
        [{"params": decayed, "weight_decay": 0.01}, {"params": flat, "weight_decay": 0}], 0.1, 0.8, nesterov=True
    )
    inputs, targets = TASK.train()
    for epoch in range(2):
        source = derive(4, "epoch", epoch)
        order = torch.randperm(96, generator=torch.Generator().manual_seed(source))
        torch.manual_seed(source)
        losses = []
        for step in range(3):
            for group in optimizer.param_groups:
                group["lr"] = 0.05 * (1 + math.cos(math.pi * (3 * epoch + step) / 6))
            chosen = order[32 * step : 32 * step + 32]
            loss = functional.cross_entropy(network(inputs[chosen]), targets[chosen])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 0.5)
            optimizer.step()
            losses.append(float(loss.detach()))
        assert reports[epoch].metrics["train_loss"] == pytest.approx(sum(losses) / 3, rel=1e-5)
    for name, value in bank.parameters(drawn).items():
        torch.testing.assert_close(value, network.get_parameter(name), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("settings", [ONE_SHOT, SANDWICH, SupernetSettings(optimizer="adamw", rate=0.01, batch=32)])
def test_training_is_the_same_each_time_and_learns(settings: SupernetSettings) -> None:
    def run() -> tuple[list[dict[str, float]], dict[str, Tensor]]:
        bank = Supernet(TOY, TASK, seed=1)
        torch.manual_seed(torch.seed())
        return figures(list(train_supernet(bank, 10, replace(settings, batch=12), within=SMALL))), bank.state()[
            "tensors"
        ]

    (reports, tensors), (again, others) = run(), run()
    assert reports == again and same(tensors, others)
    assert reports[-1]["train_loss"] < reports[0]["train_loss"]
    assert reports[-1]["val_loss"] < math.log(3) and reports[-1]["skipped"] == 0


@pytest.mark.parametrize("settings", [ONE_SHOT, SANDWICH, SupernetSettings(optimizer="adamw", rate=0.01, batch=32)])
def test_a_training_that_goes_on_from_a_file_is_as_one_without_a_break(
    tmp_path: Path, settings: SupernetSettings
) -> None:
    whole = Supernet(TOY, TASK, seed=2)
    expected = figures(list(train_supernet(whole, 4, settings)))
    broken, file = Supernet(TOY, TASK, seed=2), tmp_path / "state"
    run = train_supernet(broken, 4, settings, keep=lambda state: checkpoint.save(file, "x", {}, state))
    next(run), next(run)
    back = Supernet(TOY, TASK, seed=2)
    state, _ = checkpoint.load(file, "x")
    assert figures(list(train_supernet(back, 4, settings, state=state))) == expected
    assert same(back.state()["tensors"], whole.state()["tensors"])


def test_a_state_is_not_changed_by_the_training_that_goes_on_from_it() -> None:
    states: list[State] = []
    list(train_supernet(Supernet(TOY, TASK), 1, ONE_SHOT, keep=lambda state: states.append(copy.deepcopy(state))))
    before = copy.deepcopy(states[0])
    list(train_supernet(Supernet(TOY, TASK), 3, ONE_SHOT, state=states[0]))
    assert same(before.network["tensors"], states[0].network["tensors"])
    for key, kept in before.optimizer.items():
        assert same(kept, states[0].optimizer[key])


def test_a_step_touches_only_what_it_uses() -> None:
    bank = Supernet(TOY, TASK)
    unused = bank.parameters(architecture(block("conv2d", wiring="dense")))
    kept = {name: value.detach().clone() for name, value in unused.items()}
    limits = ["network.blocks[*].layer=linear", "network.blocks[*].wiring=plain"]
    list(train_supernet(bank, 1, SupernetSettings(batch=32, weight_decay=0.5), within=limited(TOY, limits)))
    now = bank.parameters(architecture(block("conv2d", wiring="dense")))
    assert torch.equal(now["block0.body.0.weight"], kept["block0.body.0.weight"])
    assert torch.equal(now["block0.mix.weight"], kept["block0.mix.weight"])
    assert not torch.equal(now["stem.weight"], kept["stem.weight"])


@pytest.mark.parametrize(
    ("option", "reason"), [("impossible", "this layer cannot be built"), ("broken", "are not finite")]
)
@pytest.mark.parametrize("settings", [ONE_SHOT, SANDWICH])
def test_paths_that_cannot_be_trained_are_skipped_counted_and_told_once(
    option: str, reason: str, settings: SupernetSettings, caplog: pytest.LogCaptureFixture
) -> None:
    bank = Supernet(space(option), TASK)
    with caplog.at_level(logging.WARNING):
        report = next(train_supernet(bank, 1, replace(settings, batch=8)))
    assert report.metrics["skipped"] > 0
    assert [reason in record.message for record in caplog.records] == [True]
    assert all(tensor.isfinite().all() for tensor in bank.tensors.values())


def test_where_no_path_can_be_trained_the_reason_is_said() -> None:
    bank = Supernet(space("impossible"), TASK)
    with pytest.raises(Infeasible, match="this layer cannot be built"):
        list(train_supernet(bank, 1, fixed={"network.blocks[0].layer": "impossible"}))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"rule": "shuffled"}, "one_shot or sorted_subnets"),
        ({"optimizer": "lion"}, "sgd or adamw"),
        ({"batch": 0}, "batch is 0"),
        ({"between": -1}, "between is -1"),
        ({"rate": 0.0}, "rate is 0"),
        ({"clip": math.nan}, "clip is nan"),
        ({"momentum": 1.0}, "momentum"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(SupernetError, match=words):
        SupernetSettings(**wrong)
    with pytest.raises(SupernetError, match="epochs is 0"):
        next(train_supernet(Supernet(TOY, TASK), 0))
