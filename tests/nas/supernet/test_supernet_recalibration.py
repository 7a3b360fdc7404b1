from __future__ import annotations

from typing import Any

import torch
from supernet_space import TASK, TOY, architecture, block
from torch import Tensor, nn

from nas.supernet.bank import Supernet
from nas.supernet.recalibration import inherit, judge, recalibrate
from search_spaces.activations.evonorm import EvoNormB0


def layered() -> tuple[nn.Sequential, Tensor]:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(3, 4, 1), EvoNormB0(4)
    )
    return network, torch.randn(50, 2, 6, 6)


def test_statistics_are_the_averages_over_whole_batches_worked_out_by_hand() -> None:
    network, inputs = layered()
    network[1].running_mean.fill_(7.0)  # type: ignore[operator]
    recalibrate(network, inputs, batch=16)
    means, variances, deeper = [], [], []
    convolution, other = network[0].double(), network[4].double()
    for batch in torch.split(inputs.double(), 16)[:3]:
        maps = convolution(batch)
        columns = maps.transpose(0, 1).flatten(1)
        mean, biased = columns.mean(1), columns.var(1, correction=0)
        means.append(mean)
        variances.append(biased * columns.shape[1] / (columns.shape[1] - 1))
        normal = (maps - mean[:, None, None]) / (biased[:, None, None] + 1e-5).sqrt()
        deeper.append(other(normal.relu()).transpose(0, 1).flatten(1).var(1, correction=0))
    norm: Any = network[1]
    torch.testing.assert_close(norm.running_mean.double(), torch.stack(means).mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(norm.running_var.double(), torch.stack(variances).mean(0), rtol=1e-5, atol=1e-6)
    evo: Any = network[5]
    torch.testing.assert_close(evo.running_var.double(), torch.stack(deeper).mean(0), rtol=1e-5, atol=1e-6)


def test_what_is_left_is_as_it_was() -> None:
    network, inputs = layered()
    weights = [parameter.clone() for parameter in network.parameters()]
    state = torch.get_rng_state()
    assert recalibrate(network, inputs) is network
    norms: Any = network[1], network[5]
    assert [norm.momentum for norm in norms] == [0.1, 0.1]
    assert not any(module.training for module in network.modules())
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(weights, network.parameters(), strict=True))


def test_an_inherited_network_has_the_weights_of_its_path_and_the_statistics_of_training_samples() -> None:
    bank, drawn = Supernet(TOY, TASK), architecture(block(), width=4)
    network = inherit(bank, drawn, samples=32)
    maps = network.stem(TASK.train()[0][:32])  # type: ignore[operator]
    body: Any = network.block0
    expected = body[0](network.entry(maps)).mean((0, 2, 3))  # type: ignore[operator]
    torch.testing.assert_close(body[1].running_mean, expected)
    assert torch.equal(body[0].weight, bank.parameters(drawn)["block0.0.weight"])


def test_judging_is_done_on_the_validation_split_in_eval_mode() -> None:
    bank, drawn = Supernet(TOY, TASK), architecture(block())
    loss, accuracy = judge(bank, drawn)
    inputs, targets = TASK.validation()
    logits = inherit(bank, drawn)(inputs)
    assert accuracy == float((logits.argmax(1) == targets).double().mean())
    torch.testing.assert_close(loss, nn.functional.cross_entropy(logits, targets).item(), rtol=1e-5, atol=1e-6)
